import subprocess
import sys

import pytest
import tensorflow as tf

from tests.conftest import REPO, make_engine
from trainer import engines, errors


@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_all_reduce_adds_up_on_every_replica(replicas: int) -> None:
    on = make_engine(replicas)

    @tf.function
    def run():
        def replica():
            index = tf.cast(on.replica_index(), tf.float32)
            return on.all_reduce([index + 1, tf.stack([index, 2.0])])

        return on.run(replica)

    first, second = run()
    total = replicas * (replicas - 1) / 2
    for value in on.local_results(first):
        assert float(value) == total + replicas
    for value in on.local_results(second):
        assert value.numpy().tolist() == [total, 2.0 * replicas]


@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_replicas_get_the_rows_of_a_batch_in_order(replicas: int) -> None:
    on = make_engine(replicas)
    batches = iter(
        on.distribute(
            lambda host: tf.data.Dataset.range(16).batch(8 // host.replicas)
        )
    )
    for start in (0, 8):
        rows = [v.numpy().tolist() for v in on.local_results(next(batches))]
        assert sum(rows, []) == list(range(start, start + 8))


@pytest.mark.parametrize(
    ("virtual_devices", "expected"),
    [
        (1, ["auto: one_device 1", "mirrored: mirrored 1"]),
        (
            3,
            [
                "auto: mirrored 3",
                "mirrored: mirrored 3",
                "one_device: one_device 1",
            ],
        ),
    ],
)
def test_make_engine(virtual_devices: int, expected: list[str]) -> None:
    names = [line.split(":")[0] for line in expected]
    code = (
        "from trainer import engines\n"
        f"for name in {names}:\n"
        f"    made = engines.make_engine(name, {virtual_devices})\n"
        "    print(f'{name}: {made.name} {made.num_replicas}')"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPO,
    )
    assert answer.stdout.splitlines() == expected


def test_virtual_devices_must_come_first() -> None:
    assert tf.config.list_logical_devices("CPU")
    with pytest.raises(errors.ConfigError, match="virtual_devices=3.*4 CPU"):
        engines.make_engine("mirrored", 3)
    with pytest.raises(errors.ConfigError, match="at least 1"):
        engines.make_engine("auto", 0)
