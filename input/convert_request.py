"""What `input.convert` is asked for."""

from __future__ import annotations

import dataclasses

from input import transcode
from input.errors import UsageError

SOURCES = ("digits", "idx", "folder", "csv", "tfds")


@dataclasses.dataclass(frozen=True)
class Request:
    """What to convert, and how. The fields are the flags of `input.convert`.

    Attributes:
        source: One of `SOURCES`.
        output: Folder of the data set to be made.
        input: Folder to read; for `csv` the manifest, for `tfds` a name or a
            prepared folder; empty for `digits`.
        root: Folder that the paths of a manifest are relative to; empty takes
            the manifest's own.
        data_dir: Where tensorflow-datasets keeps prepared data sets; empty
            takes its usual place.
        shards: Files per split; None takes one per 150 MB, at least 8.
        split: Such as "train:0.8,test:0.2"; empty takes the source's splits,
            or 0.8, 0.1, 0.1 if it has none.
        folds: Equal parts to divide `train` into; None leaves it whole.
        seed: Of the split and of the order of the records.
        overwrite: Whether `output` may exist and hold something.
        allow_unreadable: Unreadable images that may be left out.
        workers: Shards written at the same time; None takes one per CPU.
        class_names: Names of the labels of `idx` and `csv`; empty for 0..9, or
            what the manifest says.
        multi_label: Of `csv`: whether a label is any number of classes, with
            `|` between them.
        slice_columns: Of `csv`: columns to keep, to evaluate by.
        max_side: Longer side of what is stored, pixels; None keeps all.
        max_pixels: Width times height of an image that is read.

    Raises:
        UsageError: `source` is not one of `SOURCES`, or a field is not of it.
    """

    source: str
    output: str
    input: str = ""
    root: str = ""
    data_dir: str = ""
    shards: int | None = None
    split: str = ""
    folds: int | None = None
    seed: int = 0
    overwrite: bool = False
    allow_unreadable: int = 0
    workers: int | None = None
    class_names: tuple[str, ...] = ()
    multi_label: bool = False
    slice_columns: tuple[str, ...] = ()
    max_side: int | None = None
    max_pixels: int = transcode.MAX_PIXELS

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            problem = f"={self.source!r} is unknown" if self.source else ""
            raise UsageError(
                f"--source{problem or ' is missing'}. Give one of: "
                f"{', '.join(SOURCES)}."
            )
        for name in ("multi_label", "slice_columns"):
            if getattr(self, name) and self.source != "csv":
                raise UsageError(
                    f"--{name} is for --source=csv, not --source="
                    f"{self.source}. Leave it out, or list the pictures in a "
                    "csv file."
                )
