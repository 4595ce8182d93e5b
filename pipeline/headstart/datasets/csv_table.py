"""Tables in text files, however a spreadsheet or a program wrote them: the only reader of CSV.

The text is UTF-8, UTF-16 or UTF-32, by its byte order mark or its zeros. Columns are separated by
commas (tabs in a ``.tsv``) if the columns that the caller needs are there; else by whichever of
``, ; tab |`` shows them, or by what a first line ``sep=;`` says. Names of columns may have
synonyms. Empty rows are skipped.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

from headstart.core.errors import InputError, count, near_matches, one_line
from headstart.datasets import signatures, text
from headstart.datasets.file_names import is_image_name

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_DEFAULTS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = tuple(_DEFAULTS)
"""The extensions of tables."""

_SEP = "sep="  # the line in which spreadsheets name the separator
_ENCODINGS = {  # by byte order mark, the longest first
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
    b"\xef\xbb\xbf": "utf-8-sig",
}
_QUOTED = re.compile(r' \s*"')
_LINE = 1 << 22  # characters of the longest line; a file without line ends is no table


class Column(NamedTuple):
    """A column to read: its ``name``, the ``spellings`` in headers, whether it is ``required``.

    ``option`` names the command line's option that names it; empty if there is none.
    """

    name: str
    spellings: tuple[str, ...]
    required: bool = True
    option: str = ""


_ANY = Column("", ("\n",))  # in no header, so that the most frequent separator is taken


class Row(NamedTuple):
    """A row: the number of its last line, and its cells by the names of `Column`."""

    line: int
    cells: dict[str, str]


def read(
    source: Path | bytes, shown: str, columns: Sequence[Column], *, ragged: bool = False
) -> Iterator[Row]:
    """Yield the rows of a table, a file or its content, which messages call ``shown``.

    Cells are as they are in the file, with blanks. With ``ragged``, rows may be shorter or longer
    than the header.

    Raises:
        InputError: the file cannot be read, is malformed, or lacks a required column.
    """
    default = "," if isinstance(source, bytes) else _DEFAULTS.get(source.suffix.lower(), ",")
    try:
        raw = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
        with closing(raw), closing(_Lines(raw, shown)) as lines:
            yield from _rows(lines, shown, columns, default, ragged)
    except OSError as error:
        raise InputError(f"cannot read {shown}: {error.strerror}") from error


def header(source: Path | bytes, shown: str, columns: Sequence[Column]) -> list[str]:
    """Return the names of a table's columns, without blanks around them.

    Raises:
        InputError: the file cannot be read, is empty, or its header is malformed.
    """
    default = "," if isinstance(source, bytes) else _DEFAULTS.get(source.suffix.lower(), ",")
    try:
        raw = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
        with closing(raw), closing(_Lines(raw, shown)) as lines:
            reader, _ = _begin(lines, shown, columns, default)
            return [name.strip() for name in next(reader)]
    except OSError as error:
        raise InputError(f"cannot read {shown}: {error.strerror}") from error
    except csv.Error as error:
        raise InputError(f"{shown}, line 1: malformed CSV ({error})") from error


def fields(source: Path, shown: str) -> Iterator[tuple[int, list[str]]]:
    """Yield every line of a table, the header too, as its number and all its cells.

    Raises:
        InputError: the file cannot be read, is empty or malformed.
    """
    try:
        with source.open("rb") as raw, closing(_Lines(raw, shown)) as lines:
            reader, _ = _begin(lines, shown, (_ANY,), _DEFAULTS.get(source.suffix.lower(), ","))
            for cells in reader:
                if any(map(str.strip, cells)):
                    yield lines.number, cells
    except OSError as error:
        raise InputError(f"cannot read {shown}: {error.strerror}") from error
    except csv.Error as error:
        raise InputError(f"{lines.where}: malformed CSV ({error})") from error


def find(header: Sequence[str], spellings: Sequence[str]) -> str | None:
    """Return the column of a header with the most usual of these spellings, as `read` finds it."""
    place = _place([_plain(name) for name in header], Column("", tuple(spellings)))
    return header[place] if place >= 0 else None


def _rows(
    lines: _Lines, shown: str, columns: Sequence[Column], default: str, ragged: bool
) -> Iterator[Row]:
    reader, delimiter = _begin(lines, shown, columns, default)
    try:
        header = next(reader)
        indexes = _indexes(header, columns, lines, shown, delimiter)
        for fields in reader:
            if not any(map(str.strip, fields)):
                continue
            if not (ragged or len(fields) == len(header) or _fits(fields, header)):
                raise InputError(
                    f"{lines.where}: {count(len(fields), 'column')} where the header has "
                    f"{len(header)}; quote a value that has a separator in it"
                )
            if any(map(_QUOTED.match, fields)):
                raise InputError(f"{lines.where}: a blank before a quote; remove it")
            last = len(fields)
            cells = {name: fields[i] if i < last else "" for name, i in indexes.items()}
            yield Row(lines.number, cells)
    except csv.Error as error:
        message = f"{lines.where}: malformed CSV ({error})"
        raise lines.refused(message) from error


def _begin(
    lines: _Lines, shown: str, columns: Sequence[Column], default: str
) -> tuple[Iterator[list[str]], str]:
    """Return the rows of a table from its header on, and what separates its columns."""
    first = next(lines, "")
    if separator := _named_separator(first):
        first = next(lines, "")
    while first and not first.strip().strip("".join(DELIMITERS)):
        first = next(lines, "")
    if not first:
        expected = ",".join(column.name for column in columns if column.required)
        raise InputError(f"{shown} is empty; expected a header with {expected}")
    delimiter = separator or _delimiter(first, columns, default)
    # Some programs write a blank after each separator, before quotes too.
    blanks = any(name.startswith(" ") for name in _split(first, delimiter))
    csv.field_size_limit(_LINE)
    reader = csv.reader(
        chain([first], lines), delimiter=delimiter, skipinitialspace=blanks, strict=True
    )
    return reader, delimiter


class _Lines(Iterator[str]):
    """The lines of a text file, whose text is checked; ``number`` is that of the last."""

    def __init__(self, raw: BinaryIO, shown: str) -> None:
        self._start = raw.read(signatures.START)
        raw.seek(0)
        self._file = io.TextIOWrapper(
            raw, encoding=_encoding(self._start[:4]), errors="surrogateescape", newline=""
        )
        self._shown = shown
        self.number = 0

    @property
    def where(self) -> str:
        """The last line, for messages."""
        return f"{self._shown}, line {self.number}"

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def refused(self, message: str) -> InputError:
        """Return the error with a message, or with what the file is if it is no table."""
        mistaken = signatures.mistaken(self._start, signatures.CSV)
        return InputError(f"{self._shown} is {mistaken}" if mistaken else message)

    def __next__(self) -> str:
        try:
            line = self._file.readline(_LINE)
        except UnicodeError as error:
            raise self.refused(
                f"{self._shown}, line {self.number + 1}: not {self._file.encoding.upper()}; save "
                "it as CSV in UTF-8"
            ) from error
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) == _LINE:
            raise self.refused(f"{self.where}: the line has no end; save it as CSV in UTF-8")
        if "\0" in line:
            raise self.refused(f"{self.where}: a NUL character; save it as CSV in UTF-8")
        if not line.isascii() and text.has_surrogates(line):
            raise self.refused(f"{self.where}: not UTF-8; save it as CSV in UTF-8")
        return line


def _encoding(start: bytes) -> str:
    for mark, encoding in _ENCODINGS.items():
        if start.startswith(mark):
            return encoding
    zeros = [not byte for byte in start]
    if zeros == [False, True, False, True]:
        return "utf-16-le"
    return "utf-16-be" if zeros == [True, False, True, False] else "utf-8"


def _named_separator(line: str) -> str:
    """Return the separator that a first line such as ``sep=;`` names; else nothing."""
    content = line.rstrip("\r\n").strip('"')
    if not content.lower().startswith(_SEP):
        return ""
    separator = content[len(_SEP) :]
    return separator if separator in DELIMITERS else ""


def _delimiter(line: str, columns: Sequence[Column], default: str) -> str:
    """Return what separates the columns: the first candidate by which all required ones are there.

    Without one, it is that by which the header has most columns, for the message.
    """
    candidates = sorted(DELIMITERS, key=lambda delimiter: delimiter != default)
    headers = {delimiter: _split(line, delimiter) for delimiter in candidates}
    for delimiter, header in headers.items():
        names = [_plain(name) for name in header]
        if all(_place(names, column) >= 0 for column in columns if column.required):
            return delimiter
    return max(candidates, key=lambda delimiter: len(headers[delimiter]))


def _fits(fields: Sequence[str], header: Sequence[str]) -> bool:
    """Tell whether a row has the header's columns, but for empty ones at the end of either.

    >>> _fits(["a", "b", ""], ["path", "label"]), _fits(["a"], ["path", "label"])
    (True, False)
    """
    longer = max(fields, header, key=len)
    return not any(map(str.strip, longer[min(len(fields), len(header)) :]))


def _split(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _plain(name: str) -> str:
    """Return the name of a column for comparison.

    >>> _plain(" File Name ")
    'file_name'
    """
    return "_".join(name.strip().casefold().replace("-", " ").split())


def _place(names: Sequence[str], column: Column) -> int:
    """Return the number of a column, by its most usual spelling; -1 if it is not there."""
    spellings = [_plain(spelling) for spelling in column.spellings]
    return next((names.index(spelling) for spelling in spellings if spelling in names), -1)


def _indexes(
    header: Sequence[str], columns: Sequence[Column], lines: _Lines, shown: str, delimiter: str
) -> dict[str, int]:
    names = [_plain(name) for name in header]
    present = one_line(", ".join(name.strip() for name in header))
    indexes = {column.name: _place(names, column) for column in columns}
    for column in columns:
        place = indexes[column.name]
        if place >= 0 and names.count(names[place]) > 1:
            raise InputError(f"{shown}: the column {names[place]} is there twice: {present}")
    missing = [column for column in columns if column.required and indexes[column.name] < 0]
    if missing:
        raise lines.refused(
            f"{shown} has no column {' and no column '.join(column.name for column in missing)}; "
            f"its header, separated by {DELIMITERS[delimiter]}, has: {present}; "
            f"{_remedy(missing, names)}"
        )
    return {name: place for name, place in indexes.items() if place >= 0}


def _remedy(missing: Sequence[Column], names: Sequence[str]) -> str:
    if any(map(is_image_name, names)) or sum(map(bool, names)) < len(missing):
        return "the first row must name the columns, such as path,label"
    options = [f"{column.option} NAME" for column in missing if column.option]
    guesses = "".join(dict.fromkeys(near_matches(column.spellings[0], names) for column in missing))
    rename = "rename columns to these names"
    if not options:
        return guesses + rename
    them = "it" if len(options) == 1 else "them"
    return f"{guesses}name {them} with {' and '.join(options)}, or {rename}"
