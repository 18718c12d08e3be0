r"""Converts pictures to a data set for training: TFRecords and dataset.json.

python -m input.convert --source=digits --output=data/digits

python -m input.convert --source=idx \
  --input=/usr/share/datasets/fashion-mnist --output=data/fashion_mnist

python -m input.convert --source=folder --input=PHOTOS --output=data/photos

python -m input.convert --source=csv --input=list.csv --output=data/photos

python -m input.convert --source=tfds --input=cats_vs_dogs --output=data/pets

Exit codes: 0 done; 2 a flag is wrong; 3 the pictures are bad; 1 anything else,
such as an interrupt. Unless it is 0, nothing is left behind.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

from absl import flags, logging

from input import command, folds
from input.conversion import Conversion, convert
from input.convert_request import Request
from input.convert_sources import DEFAULT_SPLIT
from input.errors import UsageError
from input.transcode import MAX_PIXELS

_USUAL_RECIPE = "gin/folder.gin"
_RECIPES = {
    "digits": "gin/digits.gin",
    "idx": "gin/fashion_mnist.gin",
    "folder": _USUAL_RECIPE,
    "csv": _USUAL_RECIPE,
    "tfds": _USUAL_RECIPE,
}
_CLASSES_IN_SUMMARY = 10

_TEXT_FLAGS = {
    "source": "What to read: digits (8x8 digits, come with scikit-learn), idx "
    "(the four files of the MNIST family), folder (pictures in "
    "<split>/<class>/* or <class>/*), csv (a list of pictures: the columns "
    "path, label and, if wanted, split) or tfds (a data set of "
    "tensorflow-datasets). Required.",
    "input": "Folder to read; for csv the file, for tfds NAME, NAME/CONFIG, "
    "NAME:VERSION or the folder of a prepared data set. Required, but not used "
    "by digits.",
    "root": "Folder that the paths in a csv file are relative to. Default: the "
    "folder of the file.",
    "data_dir": "Folder where tensorflow-datasets keeps prepared data sets. "
    "Default: its own, ~/tensorflow_datasets.",
    "output": "Folder of the data set, to be made. Required.",
    "split": "Fractions of the images for each split, which add up to 1; every "
    "class is divided alike. If the source has splits of its own, its train "
    "is divided and the others stay. Default: the source's own splits, or "
    f"{DEFAULT_SPLIT}.",
}
# Name: default, least value, text.
_NUMBER_FLAGS: dict[str, command.Number] = {
    "shards": (
        None,
        1,
        None,
        "Files per split. Default: one per 150 MB and at least 8; never more "
        "than there are images.",
    ),
    "folds": (
        None,
        2,
        None,
        "For cross-validation: equal parts that train is divided into, every "
        "class alike. tfrecords.fold = 0 in a gin file then validates on the "
        "first and trains on the others. Default: train stays whole.",
    ),
    "max_side": (
        None,
        1,
        None,
        "Pixels of the longer side: larger images are shrunk to it, "
        "antialiased, a JPEG to a JPEG of quality 95, others to PNG. Smaller "
        "ones stay as they are. Default: no image is shrunk.",
    ),
    "max_pixels": (
        MAX_PIXELS,
        1,
        None,
        "Width times height of an image at most; one with more counts as "
        "unreadable. A worker needs up to 16 bytes of memory for each.",
    ),
    "seed": (
        0,
        None,
        None,
        "Seed, an integer, of the split and of the order of the images.",
    ),
    "allow_unreadable": (
        0,
        0,
        None,
        "Number of unreadable images to leave out; one more fails the run.",
    ),
    "workers": (
        None,
        1,
        None,
        "Threads, each of which writes one file at a time; the result does "
        "not depend on it. Default: one per CPU.",
    ),
}
_BOOLEAN_FLAGS = {
    "multi_label": "Whether a label of --source=csv is any number of classes, "
    "with | between them: cat|dog. An empty one is none of them.",
    "overwrite": "Whether to replace the output if it holds something. It "
    "stays as it is until the new data set is complete.",
    "help": "Show this.",
}


def main(arguments: Sequence[str]) -> int:
    """Runs the conversion that the flags ask for.

    Args:
        arguments: Name of the program and its flags.

    Returns:
        The exit code.
    """
    values = _define_flags()

    def make(surplus: list[str]) -> int:
        if surplus:
            raise UsageError(
                f"{surplus[0]!r} is not a flag. Write --NAME=VALUE; --help "
                "lists the flags."
            )
        request = _request(values)
        print(_summary(request.source, convert(request)))
        return 0

    return command.run(
        "input.convert",
        __doc__ or "",
        values,
        make,
        arguments,
        after_failure="Nothing is left behind.",
    )


def _define_flags() -> flags.FlagValues:
    """Returns the flags, apart from those of other binaries."""
    values = command.define_flags(_TEXT_FLAGS, _NUMBER_FLAGS, _BOOLEAN_FLAGS)
    flags.DEFINE_list(
        "class_names",
        [],
        "Names of the labels 0, 1, ... of --source=idx and csv, separated by "
        "commas. Default: 0,1,2,3,4,5,6,7,8,9; for csv the labels found, "
        "sorted.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "slice_columns",
        [],
        "Columns of a csv file to keep, such as camera,site: evaluation then "
        "says how good a network is for each of their values. Default: none.",
        flag_values=values,
    )
    return values


def _request(values: flags.FlagValues) -> Request:
    return Request(
        source=values.source,
        output=values.output,
        input=values.input,
        root=values.root,
        data_dir=values.data_dir,
        shards=values.shards,
        split=values.split,
        folds=values.folds,
        seed=values.seed,
        overwrite=values.overwrite,
        allow_unreadable=values.allow_unreadable,
        workers=values.workers,
        class_names=tuple(values.class_names),
        multi_label=values.multi_label,
        slice_columns=tuple(values.slice_columns),
        max_side=values.max_side,
        max_pixels=values.max_pixels,
    )


def _summary(source: str, result: Conversion) -> str:
    """Returns what was made, and what to do next, for the screen."""
    info = result.info
    images = sum(info.examples(split) for split in info.splits)
    size = sum(s.bytes for shards in info.splits.values() for s in shards)
    kind = "grey" if info.channels == 1 else "RGB"
    low, high = (
        "x".join(map(str, reversed(size or ())))
        for size in (info.smallest_image, info.largest_image)
    )
    sizes = low if low == high else f"{low} to {high}"
    splits = [
        f"  {split:<12}{info.examples(split):>12,} images in "
        f"{len(shards)} shards"
        for split, shards in info.splits.items()
    ]
    left_out = [
        f"  left out    {len(lines):>12,} {what}"
        for lines, what in (
            (result.unreadable, "unreadable images"),
            (result.skipped, "files or folders that are no images"),
        )
        if lines
    ]
    changed = [
        f"  re-encoded  {change.images:>12,} images, {what}; "
        f"{change.before / 1e6:,.1f} MB became {change.after / 1e6:,.1f} MB"
        for what, change in result.changes.items()
    ]
    more = ""
    if folds.names(info):
        more += "--gin_param=tfrecords.fold=0 "
    if "test" not in info.splits and _RECIPES[source] == _USUAL_RECIPE:
        more += "--gin_param=train.test_data=None "
    model_dir = os.path.join("runs", os.path.basename(result.output))
    data_dir = shlex.quote(f'DATA_DIR="{result.output}"')
    return "\n".join(
        [
            f"Wrote {result.output}",
            *splits,
            *left_out,
            *changed,
            f"  {info.num_classes} classes: {_some(info.class_names)}"
            + "; an image has any number of them" * info.multi_label,
            *(
                f"  slices by {column}: {_some(values)}"
                for column, values in info.slice_columns.items()
            ),
            f"  {kind} {info.image_format.upper()}, width x height {sizes}, "
            f"{size / 1e6:,.1f} MB",
            f"  {result.seconds:.1f} seconds, "
            f"{images / result.seconds:,.0f} images/s",
            "Next:",
            f"  python -m trainer.main --gin_file={_RECIPES[source]} \\",
            f"    --gin_param={data_dir} {more}"
            f"--model_dir={shlex.quote(model_dir)}",
        ]
    )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_CLASSES_IN_SUMMARY])
    return shown + ", ..." * (len(names) > _CLASSES_IN_SUMMARY)


if __name__ == "__main__":
    flags.FLAGS(sys.argv[:1])  # absl logging wants to see its flags parsed
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # nothing here needs a GPU
    sys.exit(main(sys.argv))
