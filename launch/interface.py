"""Where this host is reached from others, as Horovod needs to know it."""

import ipaddress
import pathlib
import socket

_ROUTES = pathlib.Path("/proc/net/route")
_UP = 1


def of_default_route(routes: str | None = None) -> str:
    """Returns the interface of this host's default route, such as "eth0".

    Args:
        routes: Linux's table of IPv4 routes. Default: that of this host.

    Raises:
        ValueError: There is no default route.
    """
    if routes is None:
        routes = _ROUTES.read_text()
    found = []
    for line in routes.splitlines()[1:]:
        name, destination, _, flags, _, _, metric, mask, *_ = line.split()
        everywhere = int(destination, 16) == int(mask, 16) == 0
        if everywhere and int(flags, 16) & _UP:
            found.append((int(metric), name))
    if not found:
        raise ValueError(
            "this host has no default route, so that the interface to the "
            "other hosts must be named: --interface=eth0, say."
        )
    return min(found)[1]


def check_own_name() -> None:
    """Makes sure that other hosts can reach this one by its own name.

    Horovod 0.28.1 listens there, whatever interface it is given: see
    `GlooContext::InitializeForProcessSet`, which forgets the interface. A name
    without address makes it crash, one of loopback makes it wait in vain.

    Raises:
        ValueError: The name has no address, or one of loopback.
    """
    name = socket.gethostname()
    try:
        answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ValueError(
            f"this host's name {name!r} has no address ({error}), but Horovod "
            "listens there. Add it to /etc/hosts."
        ) from error
    address = str(answers[0][4][0]).partition("%")[0]
    if ipaddress.ip_address(address).is_loopback:
        raise ValueError(
            f"this host's name {name!r} leads to {address}, which other hosts "
            "cannot reach, but Horovod listens there. Give it the address of "
            "the network in /etc/hosts."
        )
