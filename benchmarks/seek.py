"""Measures how long an input pipeline takes to start inside an epoch.

    python -m benchmarks.seek

Makes a data set of many shards of JPEGs in a temporary folder, and reads it as
training does: shuffled in groups of shards, decoded, cropped, batched. For each
size of the groups it times the first batch at the beginning of an epoch and at
90 % of it, and puts both beside the time of the whole epoch. A second table
says what the policies for damaged files cost. The files are in the page cache.
The first batch at the beginning includes making the pipeline and reading the
first group: what it takes longer at 90 % is the seek. Prints Markdown.
"""

import dataclasses
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import files, tables
from input import crops, damage, dataset, pipeline, sources, spec, threads

_SHARDS = flags.DEFINE_integer("shards", 48, "Files.", lower_bound=10)
_RECORDS = flags.DEFINE_integer(
    "records", 64, "Images in each file.", lower_bound=1
)
_ROUNDS = flags.DEFINE_integer(
    "rounds", 3, "Times to measure; medians are shown.", lower_bound=1
)

_BATCH = 32
_HOST = spec.HostShare(index=0, count=1, replicas=1)
_POLICIES: tuple[damage.OnCorrupt, ...] = ("fail", "skip_record", "skip_file")


@dataclasses.dataclass(frozen=True)
class Seek:
    """Times in seconds.

    Attributes:
        first: To the first batch of an epoch.
        late: To the first batch at 90 % of it.
        epoch: To the last batch of it.
        records: To the last record of it, decoding none.
    """

    first: float
    late: float
    epoch: float
    records: float


def main(arguments: Sequence[str]) -> None:
    """Measures and prints."""
    if len(arguments) > 1:
        raise app.UsageError(f"{arguments[1]!r} is not a flag.")
    print(tables.conditions())
    with tempfile.TemporaryDirectory() as folder:
        info = write(pathlib.Path(folder), _SHARDS.value, _RECORDS.value)
        total = sum(shard.bytes for shard in info.shards("train"))
        print(
            f"\n{_SHARDS.value} files of {_RECORDS.value} JPEGs, "
            f"{total / 2**20:,.0f} MiB.\n\n"
            + describe(measure(folder, _ROUNDS.value))
            + "\n\n"
            + describe_policies(measure_policies(folder, _ROUNDS.value))
        )


def write(
    folder: pathlib.Path, shards: int, records: int
) -> dataset.DatasetInfo:
    """Writes files of noisy 500x375 JPEGs, about 100 kB each."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, [16, 47, 63, 3])
    pictures = tf.image.resize(coarse, [375, 500], "bicubic")
    noisy = pictures + rng.normal(0, 18, pictures.shape)
    encoded = [
        tf.io.encode_jpeg(
            tf.cast(tf.clip_by_value(picture, 0, 255), tf.uint8), quality=90
        ).numpy()
        for picture in noisy
    ]
    made = files.write(folder, encoded, shards, records)
    info = files.description(made)
    dataset.save(info, str(folder))
    return info


def measure(folder: str, rounds: int) -> dict[int, Seek]:
    """Returns the times by the number of files shuffled together."""
    data = _train_data(folder)
    shards = data.source.info.shards("train")
    largest = max(shard.bytes for shard in shards)
    _read(data, 0, 1)  # TensorFlow starts its threads.
    found = {}
    for group in (1, len(shards) // 4, len(shards)):
        part = dataclasses.replace(data, shuffle_bytes=group * largest)
        steps = data.examples // _BATCH
        found[group] = Seek(
            first=_median(rounds, _read, part, 0, 1),
            late=_median(rounds, _read, part, steps * 9 // 10, 1),
            epoch=_median(rounds, _read, part, 0, steps),
            records=_median(rounds, _read_records, part),
        )
    return found


def measure_policies(folder: str, rounds: int) -> dict[str, float]:
    """Returns the seconds to read the records of all files, by policy."""
    found: dict[str, float] = {}
    for policy in _POLICIES:
        data = dataclasses.replace(_train_data(folder), on_corrupt=policy)
        found[policy] = _median(rounds, _read_records, data)
    return found


def describe(found: dict[int, Seek]) -> str:
    """Returns the table of `measure`."""
    rows = [
        [
            f"{group}",
            f"{times.epoch:.2f}",
            f"{times.records:.2f}",
            f"{times.first:.2f}",
            f"{times.late:.2f}",
            f"{times.first / times.epoch:.1%}",
            f"{times.late / times.epoch:.1%}",
        ]
        for group, times in found.items()
    ]
    header = [
        "files shuffled together",
        "epoch, s",
        "without decoding, s",
        "first batch at 0 %, s",
        "at 90 %, s",
        "at 0 %, share of the epoch",
        "at 90 %, share of the epoch",
    ]
    return tables.markdown(header, rows)


def describe_policies(found: dict[str, float]) -> str:
    """Returns the table of `measure_policies`."""
    rows = [
        [f"`{policy}`", f"{seconds:.2f}", f"{seconds / found['fail']:.2f}"]
        for policy, seconds in found.items()
    ]
    header = ["on_corrupt", "reading all records, s", "against `fail`"]
    return tables.markdown(header, rows)


def _train_data(folder: str) -> pipeline.TrainData:
    return pipeline.TrainData(
        source=sources.TFRecords(folder),
        decode=crops.RandomResizedCrop(size=224),
    )


def _read(data: pipeline.TrainData, start_step: int, steps: int) -> None:
    """Reads batches as training does."""
    batches = data.dataset(
        _HOST, global_batch_size=_BATCH, seed=1, start_step=start_step
    )
    for _ in batches.take(steps):
        pass


def _read_records(data: pipeline.TrainData) -> None:
    """Reads the records of an epoch, decoding none."""
    shards = range(len(data.source.info.shards(data.split)))
    stream = data.stream(shards, 1, 0).take(data.examples).batch(_BATCH)
    for _ in stream.with_options(threads.options()):
        pass


def _median(rounds: int, function: Callable[..., None], *args: Any) -> float:
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        function(*args)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


if __name__ == "__main__":
    app.run(main)
