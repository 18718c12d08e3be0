r"""Reads a data set in full and says what is wrong with it.

python -m input.doctor data/photos

python -m input.doctor data/photos --json=findings.json --fix=data/clean

python -m input.doctor --source=imagenet_records /data/imagenet

Exit codes: 0 nothing is wrong; 2 a flag is wrong; 3 something is wrong, or the
data set cannot be read; 1 anything else, such as an interrupt.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from absl import flags, logging

from input import (
    clean_copy,
    command,
    conversion,
    doctor_pictures,
    doctor_report,
    duplicates,
    errors,
    examine,
    findings,
    gcs,
    imagenet_records,
    record_check,
    subject,
    tfds_directory,
)
from input.progress import progress

_TEXT_FLAGS = {
    "source": "How the data set is laid out: tfrecords (as input.convert "
    "writes it), imagenet_records (train-00000-of-01024) or tfds (prepared by "
    "TensorFlow Datasets).",
    "json": "File for all that was found: up to 1,000 places of each kind, or "
    "200 sets of pictures.",
    "html": "File for a page that shows the first 50 sets of copies and of "
    "pictures that look alike.",
    "fix": "Folder for a clean copy of the data set, to be made: without "
    "records that training cannot use, and with one of exact copies. Where "
    "copies are in several splits, that of the training split is dropped.",
    "class_names_file": "Text file with a class on each line, for "
    "--source=imagenet_records.",
    "image": "Name of the feature with the picture, for --source=tfds.",
    "label": "Name of the feature with the class, for --source=tfds.",
}
_DEFAULTS = {"source": "tfrecords", "image": "image", "label": "label"}
_NUMBER_FLAGS: dict[str, command.Number] = {
    "near_distance": (
        6,
        0,
        16,
        "Bits, of the 128 of a difference hash, that may differ between "
        "pictures that look alike.",
    ),
    "max_pixels": (
        100_000_000,
        1,
        None,
        "Height times width of the largest image that is decoded: 3 bytes of "
        "memory a pixel and worker. Larger ones are reported.",
    ),
    "workers": (
        None,
        1,
        None,
        "Threads that decode; the result does not depend on it. Default: one "
        "per CPU.",
    ),
    "num_classes": (
        1000,
        2,
        None,
        "Classes, for --source=imagenet_records without --class_names_file.",
    ),
    "label_offset": (
        1,
        0,
        None,
        "Number of the first class, for --source=imagenet_records.",
    ),
}
# Of one source alone.
_OF_SOURCE = {
    "class_names_file": "imagenet_records",
    "num_classes": "imagenet_records",
    "label_offset": "imagenet_records",
    "image": "tfds",
    "label": "tfds",
}
_BOOLEAN_FLAGS = {
    "overwrite": "Whether to replace the folder of --fix if it holds "
    "something.",
    "help": "Show this.",
}


def main(arguments: Sequence[str]) -> int:
    """Examines the data set that the arguments name.

    Args:
        arguments: Name of the program, the folder and flags.

    Returns:
        The exit code.
    """
    values = command.define_flags(
        _TEXT_FLAGS, _NUMBER_FLAGS, _BOOLEAN_FLAGS, _DEFAULTS
    )

    def examine_folder(places: list[str]) -> int:
        if len(places) != 1:
            raise errors.UsageError(
                f"{len(places)} folders are given. Give one: python -m "
                "input.doctor DIR. --help lists the flags."
            )
        _check_source(values)
        _check_places(values, places[0])
        return _examine(places[0].rstrip("/") or "/", values)

    return command.run(
        "input.doctor", __doc__ or "", values, examine_folder, arguments
    )


def _check_source(values: flags.FlagValues) -> None:
    """Raises errors.UsageError for a source that is none, or others' flags."""
    if values.source not in subject.SOURCES:
        raise errors.UsageError(
            f"--source={values.source!r} is unknown. Give one of: "
            f"{', '.join(subject.SOURCES)}."
        )
    for name, source in _OF_SOURCE.items():
        if values[name].present and values.source != source:
            raise errors.UsageError(
                f"--{name} is for --source={source}, not --source="
                f"{values.source}. Leave it out, or give that source."
            )
    if values["num_classes"].present and values.class_names_file:
        raise errors.UsageError(
            "--num_classes and --class_names_file both say how many classes "
            "there are. Give one."
        )


def _check_places(values: flags.FlagValues, directory: str) -> None:
    """Looks at what is to be written before anything is read for hours."""
    if values.overwrite and not values.fix:
        raise errors.UsageError(
            "--overwrite is for the folder of --fix, and there is none. Leave "
            "it out, or give --fix."
        )
    for name, file in (("json", values.json), ("html", values.html)):
        folder = os.path.dirname(file) or "."
        if not gcs.is_remote(folder) and not os.path.isdir(folder):
            raise errors.UsageError(
                f"--{name}={file}: there is no folder {folder}. Make it, or "
                "give another."
            )
        if file and os.path.isdir(file):
            raise errors.UsageError(
                f"--{name}={file} is a folder. Name a file in it."
            )
    output = values.fix
    if output and not gcs.is_remote(output):
        output = os.path.realpath(output)
        if not gcs.is_remote(directory) and os.path.commonpath(
            [output, source := os.path.realpath(directory)]
        ) in (output, source):
            raise errors.UsageError(
                f"--fix={values.fix} and {directory}: one lies in the other. "
                "Give a folder outside the data set."
            )
        if not values.overwrite and os.path.lexists(output):
            if not os.path.isdir(output) or os.listdir(output):
                raise errors.UsageError(
                    f"--fix={values.fix} is not empty. Give another folder, "
                    "or --overwrite to replace it."
                )


def _examine(directory: str, values: flags.FlagValues) -> int:
    of = _subject(directory, values)
    workers = values.workers or conversion.available_cpus()
    rules = record_check.Rules(
        of.fields,
        of.info.num_classes if of.info else None,
        values.max_pixels,
    )
    expected = of.expected_records()
    with progress(expected, "records") as advance:
        found = examine.examine(
            of.files, rules, workers=workers, advance=advance
        )
    copies = findings.copies(found.table, values.near_distance)
    told = findings.of_data(of, found, copies)
    print(doctor_report.as_text(of, found, told))
    if values.json:
        text = doctor_report.as_json(of, found, told)
        command.write_output("json", values.json, _encoded(text))
    if values.html:
        page = doctor_pictures.page(of, found, copies)
        command.write_output("html", values.html, _encoded(page))
    if values.fix:
        _fix(of, found, copies.exact, values, workers, expected)
    return 3 if any(finding.wrong for finding in told) else 0


def _subject(directory: str, values: flags.FlagValues) -> subject.Subject:
    try:
        if values.source == "imagenet_records":
            return subject.of_source(
                imagenet_records.ImagenetRecords(
                    directory,
                    class_names_file=values.class_names_file,
                    num_classes=values.num_classes,
                    label_offset=values.label_offset,
                )
            )
        if values.source == "tfds":
            return subject.of_source(
                tfds_directory.TfdsDirectory(
                    directory, image=values.image, label=values.label
                )
            )
    except gcs.StorageError as e:
        raise errors.UsageError(str(e)) from e
    return subject.of_tfrecords(directory)


def _encoded(text: str) -> bytes:
    # Names of files need not be Unicode.
    return text.encode("utf-8", "replace")


def _fix(
    of: subject.Subject,
    found: examine.Examination,
    exact: duplicates.Groups,
    values: flags.FlagValues,
    workers: int,
    expected: int,
) -> None:
    output = values.fix.rstrip("/")
    if not gcs.is_remote(output):
        output = os.path.realpath(os.path.expanduser(output))
    info = clean_copy.write(
        of, found, exact, output, overwrite=values.overwrite, workers=workers
    )
    total = sum(info.examples(split) for split in info.splits)
    there = max(sum(found.records), expected)
    print(
        f"\nWrote {output}: {total:,} examples; {there - total:,} records were "
        "left out or are lost."
    )


if __name__ == "__main__":
    flags.FLAGS(sys.argv[:1])  # absl logging wants to see its flags parsed
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # nothing here needs a GPU
    sys.exit(main(sys.argv))
