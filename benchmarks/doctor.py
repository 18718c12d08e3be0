"""Measures how many records a second `input.doctor` examines.

    python -m benchmarks.doctor

Makes files of noisy 500x375 JPEGs in a temporary folder, and in turns: reads
their records and does nothing with them; reads and decodes them, in tf.data on
all cores; examines them as the doctor does, with one thread and with one per
core. The files are in the page cache. Prints Markdown.
"""

import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf
from absl import app, flags

from benchmarks import seek, tables
from input import conversion, examine, findings, record_check, subject

_FILES = flags.DEFINE_integer("files", 8, "Files.", lower_bound=1)
_PICTURES = flags.DEFINE_integer(
    "pictures", 128, "Images in each file.", lower_bound=1
)
_TURNS = flags.DEFINE_integer(
    "turns", 5, "Times to measure; medians are shown.", lower_bound=1
)

READ, DECODE = "reading the records", "reading and decoding, tf.data"
ONE, ALL = "the doctor, one thread", "the doctor, a thread a core"


def main(arguments: Sequence[str]) -> None:
    """Measures and prints."""
    if len(arguments) > 1:
        raise app.UsageError(f"{arguments[1]!r} is not a flag.")
    print(tables.conditions())
    with tempfile.TemporaryDirectory() as folder:
        info = seek.write(pathlib.Path(folder), _FILES.value, _PICTURES.value)
        seconds = measure(folder, _TURNS.value)
        records = info.examples("train")
        total = sum(shard.bytes for shard in info.shards("train"))
        print(
            f"\n{records:,} JPEGs, {total / 2**20:,.0f} MiB.\n\n"
            + describe(seconds, records)
        )


def measure(folder: str, rounds: int) -> dict[str, list[float]]:
    """Returns the seconds of each round for all records, by contender."""
    cores = conversion.available_cpus()
    contenders: dict[str, Callable[[], None]] = {
        READ: lambda: _drain(_records(folder)),
        DECODE: lambda: _drain(_decoded(folder)),
        ONE: lambda: _examine(folder, 1),
        ALL: lambda: _examine(folder, cores),
    }
    for contender in contenders.values():
        contender()  # threads are started, functions traced
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            began = time.perf_counter()
            contender()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def describe(seconds: Mapping[str, Sequence[float]], records: int) -> str:
    """Returns the table of `measure`."""
    rows = [
        [
            name,
            f"{records / statistics.median(found):,.0f}",
            f"{records / max(found):,.0f}..{records / min(found):,.0f}",
            f"{statistics.median(tables.ratios(seconds, name, DECODE)):.2f}",
        ]
        for name, found in seconds.items()
    ]
    header = ["", "records/s", "min..max of rounds", "against decoding"]
    return tables.markdown(header, rows)


def _records(folder: str) -> tf.data.Dataset:
    files = tf.io.gfile.glob(f"{folder}/train-*")
    return tf.data.TFRecordDataset(sorted(files), buffer_size=8 << 20)


def _decoded(folder: str) -> tf.data.Dataset:
    feature = {"image/encoded": tf.io.FixedLenFeature([], tf.string)}

    def decode(record: tf.Tensor) -> tf.Tensor:
        parsed = tf.io.parse_single_example(record, feature)
        image = tf.io.decode_jpeg(parsed["image/encoded"], channels=3)
        return tf.shape(image)

    return _records(folder).map(
        decode, num_parallel_calls=conversion.available_cpus()
    )


def _drain(data: tf.data.Dataset) -> None:
    for _ in data.batch(64):
        pass


def _examine(folder: str, workers: int) -> None:
    of = subject.of_tfrecords(folder)
    rules = record_check.Rules(of.fields, 2, max_pixels=10**8)
    found = examine.examine(
        of.files, rules, workers=workers, advance=lambda: None
    )
    if len(found.table) != of.expected_records():
        raise RuntimeError(f"{found.defects.lines}: not what was written")
    findings.copies(found.table, near_distance=6)


if __name__ == "__main__":
    app.run(main)
