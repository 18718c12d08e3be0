"""The environment variables that tell a worker process its place."""

from collections.abc import Mapping, Sequence

_PORTS = range(1, 65536)


def multi_worker(addresses: Sequence[str], index: int) -> dict[str, str]:
    """Returns the variables of a worker of `make_engine.name="multi_worker"`.

    Args:
        addresses: "host:port" of every worker, all different.
        index: Which of them this one is, from 0.

    Raises:
        ValueError: An address or the index is wrong.
    """
    for address in addresses:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or int(port) not in _PORTS:
            raise ValueError(
                f"addresses has {address!r}, which must be host:port with a "
                "port from 1 to 65535."
            )
    if len(set(addresses)) < len(addresses):
        raise ValueError(
            f"addresses={list(addresses)} has the same one twice. Give each "
            "worker a port of its own."
        )
    _check_below("index", index, "the number of addresses", len(addresses))
    return {
        "LOCKSTEP_WORKERS": ",".join(addresses),
        "LOCKSTEP_INDEX": str(index),
    }


def horovod(
    *,
    rank: int,
    size: int,
    local_rank: int,
    local_size: int,
    cross_rank: int,
    cross_size: int,
    hostname: str,
    rendezvous_host: str,
    rendezvous_port: int,
    interface: str,
) -> dict[str, str]:
    """Returns the variables of a process that Horovod runs over Gloo.

    They are those of `horovodrun --gloo`.

    Args:
        rank: Which of all processes this one is, from 0.
        size: How many processes there are.
        local_rank: Which of the processes of its host it is, from 0.
        local_size: How many processes its host has.
        cross_rank: Which of the processes with the same local rank, one on each
            host, it is, from 0.
        cross_size: How many processes have the same local rank.
        hostname: Its host, as the rendezvous server was told it.
        rendezvous_host: Name or IPv4 address of the rendezvous server.
        rendezvous_port: Port of the rendezvous server, 1 to 65535.
        interface: Network interface to talk through, such as "lo" or "eth0".

    Raises:
        ValueError: An argument is out of its range.
    """
    _check_below("rank", rank, "size", size)
    _check_below("local_rank", local_rank, "local_size", local_size)
    _check_below("cross_rank", cross_rank, "cross_size", cross_size)
    if rendezvous_port not in _PORTS:
        raise ValueError(
            f"rendezvous_port={rendezvous_port} must be from 1 to 65535."
        )
    return {
        "HOROVOD_HOSTNAME": hostname,
        "HOROVOD_RANK": str(rank),
        "HOROVOD_SIZE": str(size),
        "HOROVOD_LOCAL_RANK": str(local_rank),
        "HOROVOD_LOCAL_SIZE": str(local_size),
        "HOROVOD_CROSS_RANK": str(cross_rank),
        "HOROVOD_CROSS_SIZE": str(cross_size),
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": rendezvous_host,
        "HOROVOD_GLOO_RENDEZVOUS_PORT": str(rendezvous_port),
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
        "HOROVOD_GLOO_IFACE": interface,
        "NCCL_SOCKET_IFNAME": interface,
    }


def data_service(addresses: Sequence[str]) -> dict[str, str]:
    """Returns the variables of workers whose batches are made by servers.

    Args:
        addresses: "host:port" of every server; none: the workers make them.
    """
    if not addresses:
        return {}
    urls = ",".join(f"grpc://{address}" for address in addresses)
    return {"LOCKSTEP_DATA_SERVICE": urls}


def without_places(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables without those that describe an outer job's place.

    They would contradict the place that a launcher is about to give.
    """
    described = {
        "TF_CONFIG",
        "LOCKSTEP_WORKERS",
        "LOCKSTEP_INDEX",
        "HOROVOD_HOSTNAME",
        "HOROVOD_RANK",
        "HOROVOD_SIZE",
        "HOROVOD_LOCAL_RANK",
        "HOROVOD_LOCAL_SIZE",
        "HOROVOD_CROSS_RANK",
        "HOROVOD_CROSS_SIZE",
        "HOROVOD_GLOO_RENDEZVOUS_ADDR",
        "HOROVOD_GLOO_RENDEZVOUS_PORT",
    }
    return {k: v for k, v in environment.items() if k not in described}


def _check_below(name: str, value: int, limit_name: str, limit: int) -> None:
    if not 0 <= value < limit:
        raise ValueError(
            f"{name}={value} must be from 0 to {limit - 1}, as {limit_name} "
            f"is {limit}."
        )
