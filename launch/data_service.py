r"""Makes batches for trainings in other processes, until it is ended.

python -m launch.data_service --port=5050 --host=input1

python -m trainer.main --gin_file=F --model_dir=D \
  --gin_param='train_data.service="grpc://input1:5050,grpc://input2:5050"'

A training registers its input pipeline here; this process runs it, reads the
files, decodes the images, and hands the batches over. So the data must be found
under the same path as there, and TensorFlow be of the same version. One process
uses all cores of a host and serves any number of trainings. On one host,
`launch.local --data_service=N` starts N of them.

Whoever reaches the port can have anything computed here: keep it inside a
private network.

Exit codes: 2 wrong flags; 1 the port is taken; otherwise it runs until a signal
ends it.
"""

import signal
import sys
from collections.abc import Sequence

from absl import flags

from launch import usage

# A training that was killed is forgotten after so long, and its buffers freed.
_FORGET_MS = 60_000
_LOOK_MS = 10_000


def main(arguments: Sequence[str]) -> int:
    """Serves until a signal comes.

    Args:
        arguments: Name of the program and flags.

    Returns:
        The exit code, if it could not start.
    """
    values = _define_flags()

    def launch(rest: list[str]) -> int:
        if rest:
            raise usage.UsageError(
                f"{rest[0]!r} is not a flag. All settings are flags: see "
                "--help."
            )
        return _serve(values.host, values.port, values.worker_port)

    return usage.run(
        "launch.data_service", __doc__ or "", values, launch, arguments
    )


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string(
        "host",
        "127.0.0.1",
        "Name or address by which trainings reach this process.",
        flag_values=values,
    )
    for name, purpose in (
        ("port", "Port that train_data.service names"),
        ("worker_port", "Another port, from which the batches come"),
    ):
        flags.DEFINE_integer(
            name,
            0,
            f"{purpose}. 0: a free one.",
            lower_bound=0,
            upper_bound=65535,
            flag_values=values,
        )
    return values


def _serve(host: str, port: int, worker_port: int) -> int:
    # Here, since --help and wrong flags need not wait for it.
    import tensorflow as tf

    service = tf.data.experimental.service
    try:
        # One worker for each dispatcher: see input/service.py.
        dispatcher = service.DispatchServer(
            service.DispatcherConfig(
                port=port,
                job_gc_check_interval_ms=_LOOK_MS,
                job_gc_timeout_ms=_FORGET_MS,
            )
        )
        chosen = dispatcher.target.rpartition(":")[2]
        running = service.WorkerServer(
            service.WorkerConfig(
                dispatcher_address=f"127.0.0.1:{chosen}",
                worker_address=f"{host}:%port%",
                port=worker_port,
            )
        )
    except tf.errors.OpError as error:
        print(
            f"launch.data_service: cannot listen on --port={port} or "
            f"--worker_port={worker_port}: {error.message}. Is another process "
            "there? Choose other ports.",
            file=sys.stderr,
        )
        return 1
    print(f"serving at grpc://{host}:{chosen}", flush=True)
    # Not running.join(), during which Python hears no signal. By default a
    # signal ends the process, and with it both servers.
    while running:
        signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
