"""The lines of a manifest: paths, labels and splits of pictures.

A manifest is a csv file. Everything that is wrong with it is collected, and
reported with the numbers of the lines.
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import io
import os
import re
import stat
from collections.abc import Iterator, Sequence

from input.convert_folder import SPLIT_NAMES
from input.errors import DataError

_DELIMITERS = (",", ";", "\t")
# What Excel writes, or wants to read, before the names of the columns.
_EXCEL = re.compile(r"sep=.\r?\n", re.IGNORECASE)
_COLUMNS = ("path", "label", "split")
_LINES_IN_MESSAGE = 20
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A line that is right in itself."""

    line: int
    path: str  # relative to the root, with `/`
    label: str
    split: str
    size: int  # bytes
    slices: tuple[str, ...] = ()  # values of the columns that were asked for


class Manifest:
    """Reads the lines and remembers which are wrong.

    Attributes:
        name: What the user calls the file.
        has_splits: Whether there is a column `split`; known once `rows` has
            begun.
    """

    def __init__(
        self,
        name: str,
        roots: Sequence[str],
        *,
        slice_columns: Sequence[str] = (),
        empty_labels: bool = False,
    ):
        """Makes a manifest without lines.

        Args:
            name: What the user calls the file.
            roots: The folder that paths are relative to, and other names of it
                that paths may begin with.
            slice_columns: Columns to keep, in lower case.
            empty_labels: Whether a line may have no label.
        """
        self.name = name
        self._roots = roots
        self._slice_columns = slice_columns
        self._empty_labels = empty_labels
        self._problems: list[tuple[int, str]] = []
        self._seen: dict[str, int] = {}
        self.has_splits = False

    def complain(self, line: int, problem: str) -> None:
        """Remembers what is wrong with a line."""
        self._problems.append((line, problem))

    def finish(self) -> None:
        """Raises DataError if any line was wrong; it lists the first ones."""
        if not self._problems:
            return
        self._problems.sort()
        lines = [
            f"line {line}: {problem}"
            for line, problem in self._problems[:_LINES_IN_MESSAGE]
        ]
        more = len(self._problems) - len(lines)
        if more:
            lines.append(f"and {more:,} more")
        raise DataError(
            f"{self.name} has {len(self._problems):,} bad line(s):\n  "
            + "\n  ".join(lines)
            + f"\nCorrect or delete them. Paths are relative to "
            f"{self._roots[0]}; --root=FOLDER gives another folder."
        )

    def rows(self, data: bytes) -> Iterator[Row]:
        """Yields the lines of a file that are right in themselves.

        Args:
            data: UTF-8, with or without a byte order mark; commas, semicolons
                or tabs between the columns, which the first line names; Excel's
                `sep=;` may stand before it.

        Raises:
            DataError: Not UTF-8, or the first line lacks a column.
        """
        text = _decode(self.name, data)
        told = _EXCEL.match(text)
        before = 0
        if told:
            text, before = text[told.end() :], 1
        delimiter, header = _header(self.name, text)
        self._check_slices(header)
        self.has_splits = "split" in header
        places = {
            name: header.index(name)
            for name in (*_COLUMNS, *self._slice_columns)
            if name in header
        }
        reader = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=delimiter,
            skipinitialspace=True,
            strict=True,
        )
        end = before
        try:
            for number, cells in enumerate(reader):
                line, end = end + 1, before + reader.line_num
                if number == 0 or not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(header):
                    self.complain(
                        line,
                        f"{len(cells)} columns instead of {len(header)} "
                        f"({', '.join(header)})",
                    )
                    continue
                row = self._row(
                    line, {name: cells[i].strip() for name, i in places.items()}
                )
                if row:
                    yield row
        except csv.Error as e:
            self.complain(end + 1, f"{e}; what follows was not read")

    def _row(self, line: int, cells: dict[str, str]) -> Row | None:
        problems = []
        split = cells.get("split", "train")
        if split.lower() not in SPLIT_NAMES:
            problems.append(
                f"split={split!r} is not one of {', '.join(SPLIT_NAMES)}"
            )
        if not cells["label"] and not self._empty_labels:
            problems.append("the label is empty")
        path, size = "", 0
        try:
            path = self._relative(cells["path"])
            size = self._size(path)
        except ValueError as e:
            problems.append(str(e))
        else:
            first = self._seen.setdefault(path, line)
            if first != line:
                problems.append(f"{path} is there twice, first in line {first}")
        for problem in problems:
            self.complain(line, problem)
        if problems:
            return None
        split = SPLIT_NAMES[split.lower()]
        slices = tuple(cells[column] for column in self._slice_columns)
        return Row(line, path, cells["label"], split, size, slices)

    def _check_slices(self, header: Sequence[str]) -> None:
        """Raises DataError for a column to keep that there is not, or twice."""
        for column in self._slice_columns:
            problem = ""
            if column in _COLUMNS:
                problem = "has a meaning of its own."
            elif column not in header:
                close = difflib.get_close_matches(column, header, n=1)
                problem = "is not there."
                problem += f" Did you mean {close[0]!r}?" if close else ""
            elif header.count(column) > 1:
                problem = "is there twice: rename one."
            if problem:
                raise DataError(
                    f"{self.name}: the column {column!r} of --slice_columns "
                    f"{problem} Line 1 has: {', '.join(header)}."
                )

    def _relative(self, path: str) -> str:
        """Returns a path relative to the root; ValueError if it has none."""
        if not path:
            raise ValueError("the path is empty")
        if "://" in path and not path.startswith(tuple(self._roots)):
            raise ValueError(f"{path} is outside of {self._roots[0]}")
        relative = path if "://" in path else os.path.normpath(path)
        for root in self._roots:
            relative = relative.removeprefix(root.rstrip("/") + "/")
        relative = os.path.normpath(relative)
        if os.path.isabs(relative) or relative.split(os.sep)[0] == "..":
            raise ValueError(f"{path} is outside of {self._roots[0]}")
        return relative.replace(os.sep, "/")

    def _size(self, path: str) -> int:
        """Returns the bytes of a file; ValueError if it is none."""
        try:
            found = os.stat(os.path.join(self._roots[0], path))
        except ValueError:  # a zero byte in it
            raise ValueError(f"{path!r} is not the name of a file") from None
        except OSError as e:
            reason = "not found"
            if not isinstance(e, (FileNotFoundError, NotADirectoryError)):
                reason = str(e.strerror)
            elif "\\" in path:
                reason = "not found; write / in place of \\ between folders"
            raise ValueError(f"{path}: {reason}") from None
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{path} is not a file")
        return found.st_size


def _decode(name: str, data: bytes) -> str:
    if data.startswith(_UTF16):
        raise DataError(f"{name} is UTF-16. Save it as UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        bad = []
        for number, line in enumerate(data.split(b"\n"), start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as e:
                start = max(0, e.start - 10)
                bad.append(f"line {number}: {line[start : e.end + 10]!r}")
        shown = bad[:_LINES_IN_MESSAGE]
        if len(bad) > len(shown):
            shown.append(f"and {len(bad) - len(shown):,} more")
        raise DataError(
            f"{name} has {len(bad):,} line(s) that are not UTF-8:\n  "
            + "\n  ".join(shown)
            + "\nSave it as UTF-8; rename files whose names are not."
        ) from None


def _header(name: str, text: str) -> tuple[str, list[str]]:
    """Returns what is between the columns, and their names."""
    lines = io.StringIO(text, newline="")
    first = next(lines, "").strip("\r\n")
    found: list[str] = []
    for delimiter in _DELIMITERS:
        try:
            cells = next(
                csv.reader([first], delimiter=delimiter, skipinitialspace=True),
                [],
            )
        except csv.Error:
            continue
        header = [cell.strip().lower() for cell in cells]
        if {"path", "label"} <= set(header):
            twice = {c for c in _COLUMNS if header.count(c) > 1}
            if twice:
                raise DataError(
                    f"{name}: line 1 has the column {min(twice)!r} twice. "
                    "Rename one."
                )
            return delimiter, header
        if len(header) > len(found):
            found = header
    raise DataError(
        f"{name}: line 1 has the columns {', '.join(found) or 'none'}, but "
        "must name at least path and label, with commas, semicolons or tabs "
        "between them: path,label or path,label,split"
    )
