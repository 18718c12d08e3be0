"""The `folder` source of `input.convert`: pictures in a folder per class."""

from __future__ import annotations

import dataclasses
import os
import stat
from collections.abc import Iterator, Sequence

from input.convert_sources import DEFAULT_SPLIT, Picture, Source
from input.errors import DataError
from input.image_check import looks_like_image

# Names of split folders, in lower case, and the split they stand for.
SPLIT_NAMES = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
}
# What a file of this kind is, is found out (and complained about) when it is
# read; a file of no such kind is looked into at once.
_EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .gif .bmp .webp .tif .tiff .heic .heif .avif "
    ".jp2 .ppm .pgm .ico .tga .psd .raw .cr2 .nef .dng".split()
)
_HIDDEN = frozenset({"__MACOSX", "@eaDir"})
_NAMES_IN_MESSAGE = 5


def read_folder(root: str, *, split_given: bool = False) -> Source:
    """Finds the pictures of `<split>/<class>/*` or `<class>/*`.

    The first layout it is if all folders in `root` are named like splits
    (train, validation, val, valid, test). Classes are sorted by name. Folders
    inside a class folder are walked. Files that are no pictures are left out
    and listed in `skipped`.

    Args:
        root: The folder.
        split_given: Whether the user gave --split, which settles that a
            folder such as `train` beside others is a class.

    Raises:
        DataError: No class folders, only one class, a class folder without
            pictures, a class missing in `train`, or an unclear layout.
    """
    scan = _Scan(root)
    folders = scan.folders("")
    if not folders:
        raise DataError(
            f"{root} has no folders. --source=folder needs one folder per "
            "class, each with the pictures of that class: "
            f"{root}/cat/1.jpg, {root}/dog/2.jpg, ..."
        )
    split_like = [name for name in folders if name.lower() in SPLIT_NAMES]
    if len(split_like) < len(folders):
        _check_clear(root, folders, split_like, split_given)
        classes = {name: scan.pictures(name) for name in folders}
        names = _class_names(root, {"train": classes})
        return Source(
            splits={"train": _labelled(classes, names, root)},
            class_names=names,
            default_split=DEFAULT_SPLIT,
            skipped=tuple(scan.skipped),
        )
    found: dict[str, dict[str, list[_File]]] = {}
    for folder in split_like:
        split = SPLIT_NAMES[folder.lower()]
        if split in found:
            raise DataError(
                f"{root} has two folders for the split {split!r}: "
                f"{', '.join(split_like)}. Merge them or rename one."
            )
        found[split] = {
            name: scan.pictures(f"{folder}/{name}")
            for name in scan.folders(folder)
        }
    names = _class_names(root, found)
    return Source(
        splits={
            split: _labelled(found[split], names, root)
            for split in dict.fromkeys(SPLIT_NAMES.values())
            if split in found
        },
        class_names=names,
        skipped=tuple(scan.skipped),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _File:
    name: str  # relative to the root, with `/`
    size: int  # bytes


class _Scan:
    """Walks the folders below `root` and remembers what it leaves out."""

    def __init__(self, root: str):
        self._root = root
        self.skipped: list[str] = []

    def folders(self, path: str) -> list[str]:
        """Names of the folders directly in `path`; files are left out."""
        names = []
        for name, entry in self._entries(path):
            if entry.is_dir():
                names.append(entry.name)
            else:
                self.skipped.append(f"{name}: not inside a class folder")
        return names

    def pictures(self, path: str) -> list[_File]:
        """All pictures in a class folder and the folders in it.

        Raises:
            DataError: There are none.
        """
        before = len(self.skipped)
        files = list(self._walk(path, frozenset()))
        if not files:
            others = self.skipped[before:]
            raise DataError(
                f"{os.path.join(self._root, path)}: class folder without "
                f"images{f' ({_some(others)})' if others else ''}. Put images "
                "there or delete the folder."
            )
        return files

    def _walk(self, path: str, above: frozenset[str]) -> Iterator[_File]:
        real = os.path.realpath(os.path.join(self._root, path))
        if real in above:
            self.skipped.append(f"{path}: a link to a folder it lies in")
            return
        for name, entry in self._entries(path):
            if entry.is_dir():
                yield from self._walk(name, above | {real})
            elif _is_picture(entry):
                yield _File(name, _size(entry))
            else:
                self.skipped.append(f"{name}: not an image file")

    def _entries(self, path: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Visible entries of a folder by name, with their relative path."""
        with os.scandir(os.path.join(self._root, path)) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
        for entry in ordered:
            name = f"{path}/{entry.name}" if path else entry.name
            if entry.name.startswith(".") or entry.name in _HIDDEN:
                self.skipped.append(f"{name}: hidden")
            else:
                yield name, entry


def _is_picture(entry: os.DirEntry[str]) -> bool:
    try:
        # Reading a pipe or a device would never end.
        regular = stat.S_ISREG(entry.stat().st_mode)
    except OSError:
        regular = entry.is_symlink()  # broken: reported when it is read
    if os.path.splitext(entry.name)[1].lower() in _EXTENSIONS:
        return regular
    return entry.is_file() and looks_like_image(entry.path)


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        return 0


def _check_clear(
    root: str, folders: Sequence[str], split_like: Sequence[str], given: bool
) -> None:
    if len(split_like) > 1 or (split_like and not given):
        others = [name for name in folders if name not in split_like]
        raise DataError(
            f"{root} has folders named like splits ({', '.join(split_like)}) "
            f"beside others ({_some(others)}). If they are splits, move the "
            "others away and name the splits train, validation and test. If "
            "they are classes, rename them, or give --split if it is one."
        )


def _class_names(
    root: str, splits: dict[str, dict[str, list[_File]]]
) -> tuple[str, ...]:
    """The classes of `train`, sorted; those of the others are among them."""
    if "train" not in splits:
        raise DataError(
            f"{root} has the splits {', '.join(splits)} but no folder train. "
            "Add it, or give a folder with one folder per class and --split."
        )
    names = tuple(sorted(splits["train"]))
    for split, classes in splits.items():
        unknown = sorted(set(classes) - set(names))
        if unknown:
            raise DataError(
                f"{root}: the split {split!r} has classes that are missing "
                f"in train: {_some(unknown)}. Add images of them to train, "
                "or delete their folders."
            )
    if len(names) < 2:
        raise DataError(
            f"{root}: found {len(names)} class(es) in the split train"
            f"{''.join(f' ({name})' for name in names)}, but at least 2 are "
            "needed. Give with --input the folder whose folders are the "
            "classes or the splits."
        )
    for name in names:
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:
            raise DataError(
                f"{root}: the name of the class folder {os.fsencode(name)!r} "
                "is not UTF-8. Rename it."
            ) from None
    return names


def _labelled(
    classes: dict[str, list[_File]], names: Sequence[str], root: str
) -> list[Picture]:
    labels = {name: label for label, name in enumerate(names)}
    return [
        Picture(file.name, labels[name], file.size, root)
        for name, files in classes.items()
        for file in files
    ]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMES_IN_MESSAGE])
    more = len(names) - _NAMES_IN_MESSAGE
    return f"{shown} and {more} more" if more > 0 else shown
