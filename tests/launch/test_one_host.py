import socket

import pytest

from launch import one_host
from tests.launch.test_rendezvous import call


def test_workers_get_ports_of_their_own() -> None:
    with one_host.places("multi_worker", 3) as places:
        addresses = places[0]["LOCKSTEP_WORKERS"].split(",")
        assert len(set(addresses)) == 3
        for index, place in enumerate(places):
            assert place == {
                "LOCKSTEP_WORKERS": ",".join(addresses),
                "LOCKSTEP_INDEX": str(index),
            }
            host, port = addresses[index].split(":")
            with socket.create_server((host, int(port))):
                pass  # free


def test_horovods_processes_share_a_server_while_it_lasts() -> None:
    with one_host.places("horovod", 2) as places:
        ports = {int(p["HOROVOD_GLOO_RENDEZVOUS_PORT"]) for p in places}
        (port,) = ports
        call(port, "/lockstep/0", b"here", "PUT")
        assert call(port, "/lockstep/0") == b"here"
        for rank, place in enumerate(places):
            assert place["HOROVOD_RANK"] == place["HOROVOD_LOCAL_RANK"]
            assert place["HOROVOD_RANK"] == str(rank)
            assert place["HOROVOD_SIZE"] == place["HOROVOD_LOCAL_SIZE"] == "2"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
