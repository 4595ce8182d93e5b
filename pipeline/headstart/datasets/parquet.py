"""Tables of images: Parquet files, and data sets that Hugging Face's ``datasets`` saved.

A row is an image: its bytes in a binary column, or in a column of records with ``bytes`` (and
``path``), as ``datasets`` writes them; or, in Parquet, the path of a file in a text column,
relative to the table. Labels are text, or numbers, whose names are those that the file has for them
(``ClassLabel``). The split is the column ``split``, or what the file's folder or name says.

Images are called after their row, ``FILE/ROW`` or ``FILE/ROW/NAME``; ``FILE`` is left out if there
is one only. Bytes are read in the order of rows, some at a time, and never a file as a whole.
"""

from __future__ import annotations

import bisect
import importlib
import json
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from headstart.core.errors import ImageError, InputError, missing_extra, one_line
from headstart.core.records import ImageRef, Listing
from headstart.datasets import columns, storage
from headstart.datasets.folder import NoImages
from headstart.datasets.images import check_size
from headstart.datasets.listing import make_listing, once
from headstart.datasets.reader import HeldListing, make_held
from headstart.datasets.storage import State
from headstart.datasets.webdataset import split_of

PARQUET = ".parquet"
ARROW = ".arrow"
SAVED_SET, SAVED_SETS = "state.json", "dataset_dict.json"

_ROWS = 32  # read at once
_KEPT = 8  # of those, so that threads that go through the rows together share them


class Row(NamedTuple):
    """Where an image lies: the number of its table, and its row."""

    table: int
    row: int


@dataclass(frozen=True)
class TableReader:
    """Reads images from rows.

    Attributes:
        tables: path or URL of each, the state in which it was listed, and its column of images.
        rows: where each image lies.
    """

    tables: tuple[tuple[str, State, str], ...]
    rows: dict[str, Row]

    def state(self, path: str) -> State | None:
        """Return the state of an image's table."""
        place, state, _ = self.tables[self.rows[path].table]
        return state if storage.unchanged(place, state) else None

    def read(self, path: str) -> tuple[bytes, State]:
        """Return the bytes of an image file.

        Raises:
            ImageError: it cannot be read, or its table has changed since it was listed.
        """
        number, row = self.rows[path]
        place, state, column = self.tables[number]
        try:
            with _opening:
                table = _opened(place, state, column)
            value = table.get(row)
        except ImageError:
            raise
        except Exception as error:  # a damaged page shows in any way
            raise storage.cannot_read(error) from None
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            named = isinstance(value, dict) and value.get("path")
            raise ImageError("its row holds no bytes" + (", only a path" if named else ""))
        check_size(len(content))
        return content, state

    def only(self, paths: Iterable[str]) -> TableReader:
        """Return a reader of these images alone."""
        return replace(self, rows={path: self.rows[path] for path in paths})


def list_tables(files: Sequence[str], names: Sequence[str], name: str) -> Listing:
    """List the images of Parquet or Arrow files.

    Args:
        files: their paths or URLs.
        names: what each is called in the paths of its images, if there are several.
        name: how the user named them.

    Raises:
        InputError: one cannot be read, or has no column of images.
        HeadstartError: pyarrow is not installed.
    """
    tables: list[tuple[str, State, str]] = []
    rows: dict[str, Row] = {}
    images: list[ImageRef] = []
    for number, (place, called) in enumerate(zip(files, names, strict=True)):
        try:
            table = _facts(place)
        except OSError as error:
            raise InputError(f"cannot read {one_line(place)}: {storage.reason(error)}") from error
        column = _image_column(table, place)
        if isinstance(column, _PathColumn):
            if len(files) > 1:
                raise InputError(
                    f"{one_line(place)} has paths, not images; with several tables the images "
                    "must be in them"
                )
            return _list_paths(table, column.name, place, split_of(called), name)
        tables.append((place, table.state, column))
        prefix = f"{called}/" if len(files) > 1 else ""
        for row, (image, told) in enumerate(_rows(table, column, place, split_of(called))):
            path = f"{prefix}{row:06d}{f'/{told}' if told else ''}"
            rows[path] = Row(number, row)
            images.append(ImageRef(path, image.label, image.split))
    if not images:
        raise NoImages(f"no rows in {one_line(name)}")
    return make_held(TableReader(tuple(tables), rows), images, {}, name)


def list_saved(folder: Path, name: str) -> HeldListing:
    """List the images of a folder that ``Dataset.save_to_disk`` or ``DatasetDict``'s wrote.

    Raises:
        InputError: it is incomplete, or its rows are in another order than its files.
    """
    folder = folder.absolute()  # workers on other machines have other working folders
    parts = [folder]
    if (folder / SAVED_SETS).is_file():
        told = _json(folder / SAVED_SETS).get("splits")
        splits = [str(split) for split in told] if isinstance(told, list) else []
        if not splits or any(Path(split).name != split for split in splits):
            raise InputError(f"{one_line(folder / SAVED_SETS)} names no splits; save the set again")
        parts = [folder / split for split in splits]
    files, names = [], []
    for part in parts:
        state = _json(part / SAVED_SET)
        if state.get("_indices_data_files") or state.get("_indices_files"):
            raise InputError(
                f"{one_line(part)} keeps its rows in another order than its files; call "
                "flatten_indices() before save_to_disk()"
            )
        for entry in state.get("_data_files") or []:
            file = str(entry.get("filename", "")) if isinstance(entry, dict) else ""
            if not file or Path(file).name != file:
                raise InputError(f"{one_line(part / SAVED_SET)} names a file outside its folder")
            files.append(str(part / file))
            split = part.name if part != folder else str(state.get("_split") or "")
            names.append(f"{split}/{file}" if split else file)
    if not files:
        raise InputError(f"{one_line(folder)} holds no data files; save the set again")
    listing = list_tables(files, names, name)
    assert isinstance(listing, HeldListing)
    return listing


def is_saved(folder: Path) -> bool:
    """Tell whether ``datasets`` wrote a folder."""
    return (folder / SAVED_SETS).is_file() or (
        (folder / SAVED_SET).is_file() and (folder / "dataset_info.json").is_file()
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {one_line(path)}; save the set again") from error
    return document if isinstance(document, dict) else {}


class _PathColumn(NamedTuple):
    name: str


@dataclass(frozen=True)
class _Facts:
    """An opened table: its columns but for the images."""

    state: State
    schema: Any
    features: Any
    batches: Callable[[Sequence[str]], Iterator[Any]]  # of some columns
    n_rows: int


def _facts(place: str) -> _Facts:
    state = storage.state_of(place)
    pyarrow = _pyarrow()
    try:
        if place.lower().endswith(PARQUET):
            file = _parquet(place)
            schema, n_rows = file.schema_arrow, file.metadata.num_rows

            def batches(names: Sequence[str]) -> Iterator[Any]:
                return iter(file.iter_batches(1 << 13, columns=list(names)))

        else:
            table = _arrow(place)
            schema, n_rows = table.schema, table.num_rows

            def batches(names: Sequence[str]) -> Iterator[Any]:
                top = dict.fromkeys(name.partition(".")[0] for name in names)
                return iter(table.select(list(top)).to_batches())

    except pyarrow.ArrowException as error:
        raise InputError(f"{one_line(place)} is damaged: {storage.reason(error)}") from error
    description = (schema.metadata or {}).get(b"huggingface")
    return _Facts(state, schema, columns.features_of(description), batches, n_rows)


def _image_column(table: _Facts, place: str) -> str | _PathColumn:
    types = _pyarrow().types
    binary: list[str] = []
    texts: list[str] = []
    for field in table.schema:
        kind = field.type
        if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            kind = kind.field("bytes").type
        if types.is_binary(kind) or types.is_large_binary(kind):
            binary.append(field.name)
        elif types.is_string(kind) or types.is_large_string(kind):
            texts.append(field.name)
    column = columns.find(binary, columns.IMAGES) or (binary[0] if len(binary) == 1 else None)
    if column is not None:
        return column
    path = columns.find(texts, (*columns.PATHS, *columns.IMAGES))
    if path is not None and not binary:
        return _PathColumn(path)
    raise InputError(
        f"{one_line(place)} has no column of images that can be told; call it image (bytes) or "
        f"path; it has: {one_line(', '.join(table.schema.names))}"
    )


def _rows(table: _Facts, column: str, place: str, split: str) -> Iterator[tuple[ImageRef, str]]:
    """Yield the label and split of each row, with the name of its file if it has one."""
    names = table.schema.names
    others = [name for name in names if name != column]
    label, own = columns.find(others, columns.LABELS), columns.find(others, (columns.SPLIT,))
    kind = table.schema.field(column).type
    inner = _pyarrow().types.is_struct(kind) and kind.get_field_index("path") >= 0
    wanted = [name for name in (label, own) if name] + ([f"{column}.path"] if inner else [])
    classes = columns.hugging_face_names(table.features, label) if label else []
    if not wanted:
        yield from ((ImageRef("", None, split), "") for _ in range(table.n_rows))
        return
    row = 0
    for batch in table.batches(wanted):
        cells: dict[str, list[Any]] = {
            name: batch.column(name).to_pylist() for name in (label, own) if name
        }
        paths = batch.column(column).field("path").to_pylist() if inner else [None] * len(batch)
        for at, path in enumerate(paths):
            where = f"{one_line(place)}, row {row}"
            told = columns.label(cells[label][at], classes, where) if label else None
            part = columns.split(cells[own][at] if own else "", split, where)
            name = str(path or "").replace("\\", "/").rpartition("/")[2].replace("\0", "")
            yield ImageRef("", told, part), name
            row += 1


def _list_paths(table: _Facts, column: str, place: str, split: str, name: str) -> Listing:
    """List files that a table names."""
    if storage.is_url(place):
        raise InputError(f"{one_line(place)} has paths; only a table here can have them")
    root, ignored = Path(place).parent, Counter[str]()
    seen = once(_told(table, column, place, split), ignored)
    if not any((root / path).exists() for path in seen):
        raise InputError(
            f"none of the {len(seen):,} files that {one_line(place)} lists exists; paths are "
            f"relative to its folder, {one_line(root)}"
        )
    return make_listing(root, seen.values(), +ignored, name)


def _told(table: _Facts, column: str, place: str, split: str) -> Iterator[tuple[str, ImageRef]]:
    """Yield where each row stands, and the image whose path it has."""
    others = [other for other in table.schema.names if other != column]
    label, own = columns.find(others, columns.LABELS), columns.find(others, (columns.SPLIT,))
    classes = columns.hugging_face_names(table.features, label) if label else []
    wanted = [name for name in (column, label, own) if name]
    row = 0
    for batch in table.batches(wanted):
        for cells in batch.to_pylist():
            where = f"{one_line(place)}, row {row}"
            row += 1
            path = str(cells[column] or "").strip().replace("\\", "/")
            if not path:
                raise InputError(f"{where}: the path is empty")
            told = columns.label(cells[label], classes, where) if label else None
            part = columns.split(cells[own] if own else "", split, where)
            yield where, ImageRef(path, told, part)


_opening = threading.Lock()


@lru_cache(maxsize=64)
def _opened(place: str, known: State, column: str) -> _ParquetRows | _ArrowRows:
    if storage.state_of(place) != known:
        raise ImageError("its table has changed since it was listed")
    parquet = place.lower().endswith(PARQUET)
    return _ParquetRows(place, column) if parquet else _ArrowRows(place, column)


class _ArrowRows:
    """Rows of a file that is mapped into memory."""

    def __init__(self, place: str, column: str) -> None:
        self._values = _arrow(place).column(column)

    def get(self, row: int) -> Any:  # noqa: ANN401
        return self._values[row].as_py()


class _ParquetRows:
    """Rows of a Parquet file, which can only be read forward from the start of a row group.

    Threads that go through the rows share what was read last; a row before that begins its group
    again.
    """

    def __init__(self, place: str, column: str) -> None:
        self._file = _parquet(place)
        groups = range(self._file.num_row_groups)
        self._starts = [0]
        for group in groups:
            rows = self._file.metadata.row_group(group).num_rows
            self._starts.append(self._starts[-1] + rows)
        kind = self._file.schema_arrow.field(column).type
        self._columns = [f"{column}.bytes" if _pyarrow().types.is_struct(kind) else column]
        self._column = column
        self._taking = threading.Lock()
        self._batches: Iterator[Any] = iter(())
        self._next = -1  # the row that the next batch begins with
        self._kept: OrderedDict[int, Any] = OrderedDict()

    def get(self, row: int) -> Any:  # noqa: ANN401
        with self._taking:
            values, start = self._holding(row)
        return values[row - start].as_py()

    def _holding(self, row: int) -> tuple[Any, int]:
        for start, values in self._kept.items():
            if start <= row < start + len(values):
                return values, start
        group = bisect.bisect_right(self._starts, row) - 1
        if not 0 <= self._next <= row or self._starts[group] > self._next:
            self._next = self._starts[group]
            self._batches = self._file.iter_batches(
                _ROWS,
                row_groups=range(group, self._file.num_row_groups),
                columns=self._columns,
                use_threads=False,
            )
        while True:
            values = next(self._batches).column(self._column)
            start, self._next = self._next, self._next + len(values)
            self._kept[start] = values
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            if row < self._next:
                return values, start


def _parquet(place: str) -> Any:  # noqa: ANN401 - pyarrow has no types
    parquet = importlib.import_module("pyarrow.parquet")
    source = storage.open_file(place) if storage.is_url(place) else place
    return parquet.ParquetFile(source, buffer_size=1 << 20, pre_buffer=False)


def _arrow(place: str) -> Any:  # noqa: ANN401
    pyarrow = _pyarrow()
    if storage.is_url(place):
        raise InputError(f"{one_line(place)} must lie here to be read; copy it, or save as Parquet")
    with pyarrow.memory_map(place) as source:
        try:
            return pyarrow.ipc.open_stream(source).read_all()
        except pyarrow.ArrowInvalid:
            return pyarrow.ipc.open_file(source).read_all()


def _pyarrow() -> Any:  # noqa: ANN401
    try:
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise missing_extra("pyarrow", "parquet") from error
