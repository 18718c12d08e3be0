"""Where a conversion reads and writes, checked before any work."""

from __future__ import annotations

import dataclasses
import os

from absl import logging

from input import gcs
from input.convert_request import Request
from input.errors import UsageError

_WHAT = {
    "idx": "the folder with the four files",
    "folder": "the folder with a folder for each class",
    "csv": "the manifest, a csv file",
    "tfds": "the name of a data set, or the folder of a prepared one",
}


@dataclasses.dataclass(frozen=True)
class Places:
    """Real paths, or paths on gs://.

    Attributes:
        output: Folder of the data set to be made.
        folder: Folder that is read; empty if none is.
        manifest: File that says what is read of it; empty if none does.
    """

    output: str
    folder: str = ""
    manifest: str = ""


def check(request: Request) -> Places:
    """Finds out where to read and write.

    Raises:
        UsageError: A place is missing, cannot be, or lies in another.
    """
    for name, path in (
        ("input", request.input),
        ("output", request.output),
        ("root", request.root),
        ("data_dir", request.data_dir),
    ):
        if "://" in path and not gcs.is_remote(path):
            raise UsageError(
                f"--{name}={path}: only local folders and gs:// can be "
                "converted. Copy it to one of them first."
            )
    for name, path, source in (
        ("root", request.root, "csv"),
        ("data_dir", request.data_dir, "tfds"),
    ):
        if path and request.source != source:
            raise UsageError(
                f"--{name} is for --source={source} only. Leave it out."
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
        return Places(output)
    if not request.input:
        raise UsageError(f"--input is missing. Give {_WHAT[request.source]}.")
    if request.source == "csv":
        return _of_manifest(request, output)
    if request.source == "tfds" and not _is_path(request.input):
        return Places(output)
    folder = _checked_folder("input", request.input)
    if _nested(folder, output):
        raise UsageError(
            f"--output={request.output} and --input={request.input}: one lies "
            "in the other, so that a data set would be mixed up with its "
            "source. Give an output outside the input."
        )
    return Places(output, folder)


def _of_manifest(request: Request, output: str) -> Places:
    manifest = _real_path(request.input)
    if os.path.isdir(manifest):
        raise UsageError(
            f"--input={request.input} is a folder. Give the csv file itself, "
            "or --source=folder."
        )
    if not gcs.is_remote(manifest) and not os.path.isfile(manifest):
        raise UsageError(
            f"--input={request.input}: not found. Give an existing csv file."
        )
    if request.root:
        folder = _checked_folder("root", request.root)
    else:
        folder = os.path.dirname(manifest)
    # An output inside is no harm: the manifest alone says what is read.
    if os.path.join(folder, "").startswith(os.path.join(output, "")):
        raise UsageError(
            f"--output={request.output} holds the pictures or the manifest. "
            "Give another folder."
        )
    return Places(output, folder, manifest)


def _checked_folder(flag: str, path: str) -> str:
    folder = _real_path(path)
    if not gcs.is_remote(folder) and not os.path.isdir(folder):
        kind = "is not a folder" if os.path.exists(folder) else "not found"
        raise UsageError(f"--{flag}={path}: {kind}. Give an existing folder.")
    return folder


def _is_path(text: str) -> bool:
    """Whether it is no name: `mnist` is one, even beside such a folder."""
    return (
        gcs.is_remote(text)
        or text.startswith(("/", ".", "~"))
        or os.path.isfile(os.path.join(text, "dataset_info.json"))
    )


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
