"""From a source to a data set directory: what `input.convert` does."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence

from absl import logging

from input import (
    convert_csv,
    convert_folder,
    convert_outcome,
    convert_places,
    convert_sources,
    convert_split,
    convert_tfds,
    dataset,
    files,
    folds,
    gcs,
    record_writer,
    remote,
    staging,
    transcode,
)
from input.convert_places import Places
from input.convert_request import Request
from input.convert_sources import Picture, Source
from input.errors import DataError, UsageError
from input.progress import progress

_SKIPPED_IN_LOG = 20


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What came of it.

    Attributes:
        output: Absolute path of the data set.
        info: Its dataset.json.
        skipped: Files that are no images, each as "path: reason".
        unreadable: Images left out, each as "path: reason".
        changes: What was stored otherwise than found, and how much of it.
        seconds: Wall time.
    """

    output: str
    info: dataset.DatasetInfo
    skipped: tuple[str, ...]
    unreadable: tuple[str, ...]
    changes: Mapping[str, record_writer.Change]
    seconds: float


def convert(request: Request) -> Conversion:
    """Converts a source to sharded TFRecords and dataset.json.

    The output appears when it is complete, or not at all. It depends on the
    source and the request alone, to the byte, whatever the `workers`; where
    images are stored otherwise than found, on the version of Pillow as well.

    Raises:
        UsageError: A field of `request` is wrong.
        DataError: The source is, or has too many unreadable images.
    """
    start = time.monotonic()
    places = convert_places.check(request)
    _check_class_names(request)
    fractions = request.split and convert_split.parse_fractions(request.split)
    remote_output = gcs.is_remote(places.output)
    stage = remote.published if remote_output else staging.staged
    with (
        stage(places.output, overwrite=request.overwrite) as place,
        remote.fetched(places.folder) as folder,
    ):
        source = _read(request, places, folder, place)
        _log_skipped(source.skipped)
        if not fractions and source.default_split and not request.folds:
            fractions = convert_split.parse_fractions(source.default_split)
        splits = dict(source.splits)
        if fractions:
            splits = convert_split.split_train(splits, fractions, request.seed)
        if request.folds:
            splits = convert_split.fold_train(
                splits, request.folds, request.seed
            )
        _check_not_empty(splits)
        if request.max_side is None:  # else it may take far less
            size = sum(p.size for pictures in splits.values() for p in pictures)
            staging.check_room(size, place)
        results = _write(splits, source, request, place)
        for path in source.scratch:
            os.remove(path)
        unreadable = convert_outcome.checked_unreadable(
            results, request.allow_unreadable
        )
        changes = convert_outcome.changes(results)
        kept = convert_outcome.without_empty(results, place)
        info = convert_outcome.describe(
            kept,
            source.class_names,
            multi_label=source.multi_label,
            slice_columns=source.slice_columns,
        )
        dataset.save(info, place)
    convert_outcome.warn_of_absent_classes(info)
    return Conversion(
        places.output,
        info,
        source.skipped,
        unreadable,
        changes,
        time.monotonic() - start,
    )


def _check_class_names(request: Request) -> None:
    if request.class_names and request.source not in ("idx", "csv"):
        raise UsageError(
            f"--class_names is for --source=idx and csv only; --source="
            f"{request.source} has names of its own. Leave it out."
        )
    if len({*request.class_names, ""}) <= len(request.class_names):
        raise UsageError(
            f"--class_names={','.join(request.class_names)} has an empty name "
            "or one twice. Give each class a name of its own."
        )


def _read(request: Request, places: Places, folder: str, place: str) -> Source:
    """Reads what is known of all pictures.

    Args:
        request: What to read.
        places: Where, as the user knows it.
        folder: A local folder with what `places.folder` holds.
        place: Folder for what is only needed during the conversion.
    """
    if request.source == "digits":
        return convert_sources.read_digits()
    if request.source == "idx":
        return convert_sources.read_idx(folder, request.class_names)
    if request.source == "folder":
        return convert_folder.read_folder(
            folder, split_given=bool(request.split)
        )
    if request.source == "csv":
        return convert_csv.read_csv(
            request.input,
            _read_manifest(request, places.manifest),
            folder,
            aliases=(
                places.folder,
                os.path.abspath(request.root or os.path.dirname(request.input)),
            ),
            class_names=request.class_names,
            multi_label=request.multi_label,
            slice_columns=request.slice_columns,
        )
    return convert_tfds.read_tfds(
        name="" if folder else request.input,
        directory=folder,
        data_dir=request.data_dir,
        place=place,
    )


def _read_manifest(request: Request, path: str) -> bytes:
    try:
        return files.read(path)
    except gcs.StorageError as e:
        raise UsageError(f"--input: {e}") from e
    except FileNotFoundError as e:
        raise UsageError(f"--input={request.input}: not found.") from e


def _check_not_empty(splits: Mapping[str, Sequence[Picture]]) -> None:
    for name, pictures in splits.items():
        if not pictures:
            raise DataError(
                f"split={name!r} would be empty: there are "
                f"{sum(map(len, splits.values())):,} images in all. Give it a "
                "larger fraction with --split, leave it out, or add images."
            )


def _write(
    splits: Mapping[str, Sequence[Picture]],
    source: Source,
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
                split,
                dataset.shard_name(split, i, len(parts)),
                part,
                split == "train"
                or bool(request.folds and folds.is_fold(split)),
            )
            for i, part in enumerate(parts)
        ]
    with progress(sum(map(len, splits.values())), "images") as advance:
        return record_writer.write_shards(
            plans,
            place,
            len(source.class_names),
            slice_columns=tuple(source.slice_columns),
            rules=transcode.Rules(request.max_pixels, request.max_side),
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
