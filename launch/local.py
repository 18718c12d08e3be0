r"""Starts a training in several processes on this host.

python -m launch.local --workers=2 --engine=multi_worker -- \
  python -m trainer.main --gin_file=gin/digits.gin --model_dir=runs/digits

python -m launch.local --workers=4 --engine=horovod --max_restarts=3 -- \
  python -m trainer.main --gin_file=F --model_dir=D \
  --gin_param='make_engine.name="horovod"'

What stands after -- is run once for each worker; `python` is the Python that
runs this. Each line of their output is shown with the number of the worker
before it; stdout and stderr stay apart; stdin is empty.

SIGTERM, SIGINT, SIGHUP and SIGUSR1 are passed on to the workers themselves, not
to processes that these have started: write `sh -c 'exec python ...'`. After the
first failure the other workers get SIGTERM, and SIGKILL --grace seconds later.
A second SIGTERM or SIGINT, at least a second after the first, is passed on too,
and SIGKILL follows --grace seconds later.

When a worker ends, or this command in any way, SIGKILL included, all processes
that descend from it are ended. There is one exception: where SIGKILL hits this
command and the guardians of the workers (launch/guardian.py) together, the
workers end, but what they have started may go on.

Exit codes: 0 all workers ended with 0; 2 wrong flags; otherwise that of the
first worker that failed, or 128 + n if signal n killed it. 75: stopped with a
checkpoint committed; run the same command again.

--data_service=N starts N processes that make batches for the workers, as far as
their train_data.service="auto": the batches and their order stay the same
(docs/launch.md). They end with the workers; should one end before, that is a
failure.

Environment of the workers: LOCKSTEP_WORKERS and LOCKSTEP_INDEX, or Horovod's
variables; LOCKSTEP_DATA_SERVICE, where those processes listen;
LOCKSTEP_RESTARTS, how often all were started again; and PYTHONUNBUFFERED=1
unless set. With --engine=multi_worker, where there are GPUs,
CUDA_VISIBLE_DEVICES gives each worker an equal part of those that this command
sees; a process of Horovod chooses its own. TensorFlow starts as many threads as
a worker has cores.
"""

import dataclasses
import itertools
import math
import os
import sys
import time
from collections.abc import Sequence

from absl import flags

from launch import (
    cores,
    environment,
    gpus,
    guardian,
    logs,
    one_host,
    processes,
    rendezvous,
    servers,
    supervisor,
    usage,
)
from launch.supervisor import plural, say

ENGINES = ("multi_worker", "horovod")
# Exit codes after which another start would end in the same way.
_HOPELESS = {
    2: "means wrong flags or a wrong config, which do not mend themselves",
    3: "means bad data, which does not mend itself",
    processes.PREEMPTED: "means that the training was asked to stop",
}


@dataclasses.dataclass(frozen=True)
class Job:
    """What to run, and how.

    Attributes:
        command: The command of every worker.
        workers: How many.
        engine: One of ENGINES.
        max_restarts: How often to start all again after a failure.
        grace: Seconds between SIGTERM and SIGKILL.
        cores: The cores of each worker; nothing for all.
        gpus: The variables that give each worker its GPUs.
        servers: How many processes make batches for the workers.
    """

    command: tuple[str, ...]
    workers: int
    engine: str
    max_restarts: int
    grace: float
    cores: tuple[tuple[int, ...], ...]
    gpus: tuple[dict[str, str], ...]
    servers: int


def main(arguments: Sequence[str]) -> int:
    """Runs the command of the arguments in several processes.

    Args:
        arguments: Name of the program, flags, and the command after `--`.

    Returns:
        The exit code.
    """
    values = _define_flags()

    def launch(rest: list[str]) -> int:
        job = _job(values, usage.find_command(rest))
        with supervisor.Inbox().open() as inbox:
            return _run(job, inbox)

    return usage.run("launch.local", __doc__, values, launch, arguments)


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_integer(
        "workers",
        None,
        "How many processes to start, at least 1. Required, but that "
        "--data_service alone starts one.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_enum(
        "engine",
        ENGINES[0],
        ENGINES,
        "How the processes find each other: by TensorFlow's own collectives or "
        "by Horovod. The training's make_engine.name must be the same.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "max_restarts",
        0,
        "How often to start all processes again after a failure; not after "
        "exit code 2, 3 or 75, nor after a signal to this command.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_bool(
        "pin_cores",
        None,
        "Whether each process gets cores of its own. Default: yes if there "
        "are enough.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "data_service",
        0,
        "How many processes to start beside the workers that make their "
        'batches, where train_data.service="auto"; 0: the workers do.',
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_float(
        "grace",
        30.0,
        "Seconds that the other processes may take to end after one has "
        "failed or stopped, and all after a second SIGTERM or SIGINT to this "
        "command; then they are killed.",
        lower_bound=0.0,
        flag_values=values,
    )
    return values


def _job(values: flags.FlagValues, command: list[str]) -> Job:
    """Returns the job of the flags, or raises UsageError."""
    workers = values.workers or (1 if values.data_service else None)
    if workers is None:
        raise usage.UsageError(
            "--workers is missing. Give the number of processes, such as "
            "--workers=2."
        )
    if values.engine == "horovod":
        try:
            rendezvous.check_installed()
        except rendezvous.MissingHorovodError as error:
            raise usage.UsageError(f"--engine=horovod: {error}") from error
    if not math.isfinite(values.grace):
        raise usage.UsageError(
            f"--grace={values.grace} must be a finite number of seconds, 0 or "
            "more. Write, say, --grace=30."
        )
    places = _cores(workers, values.pin_cores)
    processes.check_open_files(workers, values.data_service)
    # Horovod's engine takes one of all GPUs by its local rank; the other takes
    # all that it sees.
    own_gpus = (
        [{}] * workers
        if values.engine == "horovod"
        else gpus.divide(workers, os.environ)
    )
    return Job(
        command=tuple(command),
        workers=workers,
        engine=values.engine,
        max_restarts=values.max_restarts,
        grace=values.grace,
        cores=places,
        gpus=tuple(own_gpus),
        servers=values.data_service,
    )


def _cores(workers: int, pin: bool | None) -> tuple[tuple[int, ...], ...]:
    here = cores.available()
    if pin and workers > len(here):
        raise usage.UsageError(
            f"--pin_cores with --workers={workers} needs as many cores, but "
            f"there are {len(here)}. Start at most {len(here)} workers, or "
            "leave --pin_cores out."
        )
    if pin is False or workers > len(here):
        return ((),) * workers
    return tuple(cores.split(cores.places(here), workers))


def _run(job: Job, inbox: supervisor.Inbox) -> int:
    """Starts the workers as often as it takes; returns the exit code."""
    guardian.become_subreaper()
    # A shell that has called exec may have left children.
    spared = guardian.descendants(os.getpid())
    began = time.monotonic()
    for restarts in itertools.count():
        code = _run_once(job, inbox, restarts, spared)
        if code == 0:
            say(f"{plural(job.workers, 'worker')} done after {_since(began)}.")
        if code == 0 or not _starts_again(job, inbox, restarts, code):
            return code
    raise AssertionError("unreachable")


def _starts_again(
    job: Job, inbox: supervisor.Inbox, restarts: int, code: int
) -> bool:
    """Returns whether to start again after a failure, and says why."""
    if not job.max_restarts:
        return False
    inbox.take()
    if code in _HOPELESS:
        say(f"not started again: exit code {code} {_HOPELESS[code]}.")
    elif inbox.stopping:
        say("not started again after a signal to stop.")
    elif restarts == job.max_restarts:
        say(f"not started again after --max_restarts={restarts}.")
    else:
        say(f"restart {restarts + 1} of {job.max_restarts}.")
        return True
    return False


def _run_once(
    job: Job, inbox: supervisor.Inbox, restarts: int, spared: set[int]
) -> int:
    """Runs all workers once and returns the code of the first that fails."""
    began = time.monotonic()
    outer = environment.without_places(os.environ)
    outer.setdefault("PYTHONUNBUFFERED", "1")
    outer["LOCKSTEP_RESTARTS"] = str(restarts)
    addresses = one_host.free_addresses(job.servers)
    outer |= environment.data_service(addresses)
    workers: list[processes.Worker] = []
    servants: list[processes.Worker] = []
    with one_host.places(job.engine, job.workers) as places:
        try:
            for i, own in enumerate(job.cores):
                variables = outer | places[i] | job.gpus[i]
                workers.append(processes.Worker(i, job.command, variables, own))
            servants += servers.start(addresses, outer, first=job.workers)
            log = logs.Log([*workers, *servants])
            log.start()
            watch = supervisor.Supervisor(workers, inbox, job.grace, servants)
            watch.run()
        finally:
            supervisor.clear([*workers, *servants], spared)
    while log.is_alive() and not inbox.take():
        log.join(0.2)  # a reader that has stopped reading keeps it waiting
    return _summarise(watch.first_failure(), job, log, began)


def _summarise(
    failure: tuple[processes.Worker, processes.Exit] | None,
    job: Job,
    log: logs.Log,
    began: float,
) -> int:
    """Says how the workers have ended; returns the code for that."""
    if failure is None:
        return 0
    failed, how = failure
    # Nobody has told a data server to end, not even with 0.
    code = how.code or 1
    who = failed.name
    if failed.index < job.workers:
        who = f"{who} of {job.workers}"
    if code == processes.PREEMPTED:
        say(
            f"{who} stopped after {_since(began)} with exit code {code}: a "
            "checkpoint is committed. Run the same command again to go on."
        )
        return code
    tail = log.tail(failed.index)
    lines = "its last lines:" if tail else "it printed nothing."
    seconds = how.moment - began
    say(f"{who} {how.describe()} after {seconds:.1f} s; {lines}")
    logs.write(2, tail)
    return code


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"


if __name__ == "__main__":
    sys.exit(main(sys.argv))
