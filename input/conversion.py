"""From a source to a data set directory: what `input.convert` does."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Mapping, Sequence

from absl import logging

from input import (
    convert_folder,
    convert_outcome,
    convert_sources,
    convert_split,
    dataset,
    gcs,
    record_writer,
    remote,
    staging,
)
from input.convert_sources import Picture, Source
from input.errors import DataError, UsageError
from input.progress import progress

SOURCES = ("digits", "idx", "folder")

_SKIPPED_IN_LOG = 20


@dataclasses.dataclass(frozen=True)
class Request:
    """What to convert, and how. The fields are the flags of `input.convert`.

    Attributes:
        source: One of `SOURCES`.
        output: Folder of the data set to be made.
        input: Folder to read; empty for `digits`.
        shards: Files per split; None takes one per 150 MB, at least 8.
        split: Such as "train:0.8,test:0.2"; empty takes the source's splits,
            or 0.8, 0.1, 0.1 if it has none.
        seed: Of the split and of the order of the records.
        overwrite: Whether `output` may exist and hold something.
        allow_unreadable: Unreadable images that may be left out.
        workers: Shards written at the same time; None takes one per CPU.
        class_names: Names of the labels of `idx`; empty for 0..9.
    """

    source: str
    output: str
    input: str = ""
    shards: int | None = None
    split: str = ""
    seed: int = 0
    overwrite: bool = False
    allow_unreadable: int = 0
    workers: int | None = None
    class_names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What came of it.

    Attributes:
        output: Absolute path of the data set.
        info: Its dataset.json.
        skipped: Files that are no images, each as "path: reason".
        unreadable: Images left out, each as "path: reason".
        seconds: Wall time.
    """

    output: str
    info: dataset.DatasetInfo
    skipped: tuple[str, ...]
    unreadable: tuple[str, ...]
    seconds: float


def convert(request: Request) -> Conversion:
    """Converts a source to sharded TFRecords and dataset.json.

    The output appears when it is complete, or not at all. It depends on the
    source, `split`, `shards` and `seed` alone, to the byte.

    Raises:
        UsageError: A field of `request` is wrong.
        DataError: The source is, or has too many unreadable images.
    """
    start = time.monotonic()
    directory, output = _checked_places(request)
    fractions = request.split and convert_split.parse_fractions(request.split)
    stage = remote.published if gcs.is_remote(output) else staging.staged
    with (
        stage(output, overwrite=request.overwrite) as place,
        remote.fetched(directory) as folder,
    ):
        source = _read(request, folder)
        _log_skipped(source.skipped)
        if not fractions and source.default_split:
            fractions = convert_split.parse_fractions(source.default_split)
        splits = dict(source.splits)
        if fractions:
            splits = convert_split.split_train(splits, fractions, request.seed)
        _check_not_empty(splits)
        _check_room(splits, place)
        results = _write(splits, len(source.class_names), request, place)
        unreadable = convert_outcome.checked_unreadable(
            results, request.allow_unreadable
        )
        kept = convert_outcome.without_empty(results, place)
        info = convert_outcome.describe(kept, source.class_names)
        dataset.save(info, place)
    convert_outcome.warn_of_absent_classes(info)
    seconds = time.monotonic() - start
    return Conversion(output, info, source.skipped, unreadable, seconds)


def _checked_places(request: Request) -> tuple[str, str]:
    """Returns the real paths of input and output.

    Raises:
        UsageError: They do not exist, or one lies in the other.
    """
    for name, path in (("input", request.input), ("output", request.output)):
        if "://" in path and not gcs.is_remote(path):
            raise UsageError(
                f"--{name}={path}: only local folders and gs:// can be "
                "converted. Copy it to one of them first."
            )
    if not request.output:
        raise UsageError(
            "--output is missing. Give the folder of the data set to be made."
        )
    output = _real_path(request.output)
    if request.source == "digits":
        if request.input:
            logging.warning(
                "--input=%s is not used: --source=digits reads what comes "
                "with scikit-learn.",
                request.input,
            )
        return "", output
    if not request.input:
        raise UsageError(
            f"--input is missing. Give the folder that --source="
            f"{request.source} reads."
        )
    directory = _real_path(request.input)
    if not gcs.is_remote(directory) and not os.path.isdir(directory):
        kind = "is not a folder" if os.path.exists(directory) else "not found"
        raise UsageError(
            f"--input={request.input}: {kind}. Give an existing folder."
        )
    if _nested(directory, output):
        raise UsageError(
            f"--output={request.output} and --input={request.input}: one lies "
            "in the other, so that a data set would be mixed up with its "
            "source. Give an output outside the input."
        )
    return directory, output


def _real_path(path: str) -> str:
    if gcs.is_remote(path):
        return path.rstrip("/")
    return os.path.realpath(os.path.expanduser(path))


def _nested(one: str, other: str) -> bool:
    """Returns whether of two absolute paths one lies in the other."""
    if gcs.is_remote(one) != gcs.is_remote(other):
        return False
    one, other = (path.removeprefix("gs:/") for path in (one, other))
    return os.path.commonpath([one, other]) in (one, other)


def _read(request: Request, directory: str) -> Source:
    if request.class_names and request.source != "idx":
        raise UsageError(
            f"--class_names is for --source=idx only; --source="
            f"{request.source} has names of its own. Leave it out."
        )
    if len({*request.class_names, ""}) <= len(request.class_names):
        raise UsageError(
            f"--class_names={','.join(request.class_names)} has an empty name "
            "or one twice. Give each class a name of its own."
        )
    if request.source == "digits":
        return convert_sources.read_digits()
    if request.source == "idx":
        return convert_sources.read_idx(directory, request.class_names)
    if request.source == "folder":
        return convert_folder.read_folder(
            directory, split_given=bool(request.split)
        )
    raise UsageError(
        f"--source={request.source!r} is unknown. Give one of: "
        f"{', '.join(SOURCES)}."
    )


def _check_not_empty(splits: Mapping[str, Sequence[Picture]]) -> None:
    for name, pictures in splits.items():
        if not pictures:
            raise DataError(
                f"split={name!r} would be empty: there are "
                f"{sum(map(len, splits.values())):,} images in all. Give it a "
                "larger fraction with --split, leave it out, or add images."
            )


def _check_room(splits: Mapping[str, Sequence[Picture]], place: str) -> None:
    """Finds a disk that is too small before hours of work, not after."""
    size = sum(picture.size for p in splits.values() for picture in p)
    free = shutil.disk_usage(place).free
    if size > free:
        raise UsageError(
            f"--output: the disk of {os.path.dirname(place)} has "
            f"{free / 1e9:.1f} GB free, but the images take "
            f"{size / 1e9:.1f} GB. Make room, or give a folder elsewhere; "
            "what is uploaded to gs:// is first written to TMPDIR."
        )


def _write(
    splits: Mapping[str, Sequence[Picture]],
    num_classes: int,
    request: Request,
    place: str,
) -> list[record_writer.ShardResult]:
    plans = []
    for split, pictures in splits.items():
        parts = convert_split.divide(pictures, request.seed, request.shards)
        if request.shards and len(parts) < request.shards:
            logging.warning(
                "split=%r has %d images, hence %d shards instead of %d.",
                split,
                len(pictures),
                len(parts),
                request.shards,
            )
        plans += [
            record_writer.ShardPlan(
                split, dataset.shard_name(split, i, len(parts)), part
            )
            for i, part in enumerate(parts)
        ]
    with progress(sum(map(len, splits.values())), "images") as advance:
        return record_writer.write_shards(
            plans,
            place,
            num_classes,
            workers=request.workers or available_cpus(),
            advance=advance,
        )


def available_cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _log_skipped(skipped: Sequence[str]) -> None:
    if skipped:
        lines = list(skipped[:_SKIPPED_IN_LOG])
        if len(skipped) > len(lines):
            lines.append(f"and {len(skipped) - len(lines):,} more")
        logging.warning(
            "%s files or folders are left out:\n  %s",
            f"{len(skipped):,}",
            "\n  ".join(lines),
        )
