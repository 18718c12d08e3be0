"""Contenders made of several processes, each on one core."""

import concurrent.futures
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import psutil

from benchmarks import contenders
from launch import one_host


class Member(contenders.Worker):
    """One process of a group.

    Args:
        command: What it runs.
        variables: Added to its environment.
        core: Where all its threads run; they are made for one core.
    """

    def __init__(
        self, command: Sequence[str], variables: Mapping[str, str], core: int
    ) -> None:
        settings = [f"{name}={value}" for name, value in variables.items()]
        # A process inherits the cores of the thread that starts it, and
        # `contenders.environment` counts them for its thread pools.
        with _on_core(core):
            super().__init__(["env", *settings, *command])

    def run(self, steps: int) -> float:
        """Takes steps and returns the seconds they took."""
        try:
            return super().run(steps)
        except BrokenPipeError:
            # It has ended; this raises, with its last words.
            return self._answer()["seconds"]

    def cpu_seconds(self) -> float:
        """Returns the time it has spent on a core so far."""
        times = psutil.Process(self._process.pid).cpu_times()
        return times.user + times.system

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process."""
        self._process.send_signal(number)


@contextlib.contextmanager
def _on_core(core: int) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Group:
    """Processes that carry out the same orders at the same time.

    Args:
        members: At least one, in order of their index.
        frozen_between: Whether to stop the processes when nothing is asked of
            them. Horovod's background thread looks for work a thousand times a
            second; `multi_worker` would take frozen workers for dead.
        stack: What to close with the group.
    """

    def __init__(
        self,
        members: Sequence[Member],
        frozen_between: bool,
        stack: contextlib.ExitStack,
    ) -> None:
        self.members = list(members)
        self._frozen_between = frozen_between
        self._stack = stack

    @property
    def version(self) -> str:
        """Name and version of the framework."""
        return self.members[0].version

    @property
    def parameters(self) -> int:
        """Trainable parameters of the model."""
        return self.members[0].parameters

    def wait_ready(self) -> None:
        """Waits until all processes have built their models."""
        self._on_all(lambda member: member.wait_ready())
        self._freeze()

    def run(self, steps: int) -> float:
        """Takes steps and returns the seconds of the slowest process."""
        if self._frozen_between:
            self._signal(signal.SIGCONT)
        seconds = self._on_all(lambda member: member.run(steps))
        self._freeze()
        return max(seconds)

    def close(self) -> None:
        """Ends the processes."""
        for member in self.members:
            member.close()
        self._stack.close()

    def _freeze(self) -> None:
        if self._frozen_between:
            self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        for member in self.members:
            member.signal(number)

    def _on_all(self, act: Callable[[Member], Any]) -> list[Any]:
        """Acts on all members at once and returns what each gives.

        Raises:
            RuntimeError: One has ended; the others, which wait for it, are
                ended too.
        """
        with concurrent.futures.ThreadPoolExecutor(len(self.members)) as pool:
            asked = [pool.submit(act, member) for member in self.members]
            try:
                for answer in concurrent.futures.as_completed(asked):
                    answer.result()
            except BaseException:
                for member in self.members:
                    member.signal(signal.SIGKILL)
                raise
        return [answer.result() for answer in asked]


def start(kind: str, engine: str, count: int, case: str, *output: str) -> Group:
    """Starts processes of benchmarks/scaling_worker.py, one core each.

    Args:
        kind: What they do.
        engine: By which they are joined; "one_device": each for itself.
        count: How many; beyond the cores of this process, cores are shared.
        case: What they train.
        *output: Where a sweep writes its times.
    """
    cores = sorted(os.sched_getaffinity(0))
    trainers = 1 if engine == "one_device" else count
    command = [
        *(sys.executable, "-m", "benchmarks.scaling_worker"),
        *(kind, engine, str(trainers), case, *output),
    ]
    with contextlib.ExitStack() as stack:
        variables = _variables(engine, count, stack)
        members = [
            Member(command, variables[i], cores[i % len(cores)])
            for i in range(count)
        ]
        return Group(members, engine == "horovod", stack.pop_all())


def _variables(
    engine: str, count: int, stack: contextlib.ExitStack
) -> list[dict[str, str]]:
    """Returns what tells each process its place; starts what they need."""
    if engine == "one_device":
        return [{}] * count
    # Frozen processes must not count the time against each other.
    patience = {"HOROVOD_GLOO_TIMEOUT_SECONDS": "3600"}
    places = stack.enter_context(one_host.places(engine, count))
    return [place | patience for place in places]
