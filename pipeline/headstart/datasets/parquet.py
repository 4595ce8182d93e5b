"""Parquet and Arrow tables of images, read a few rows at a time.

Each row is an image: bytes in a binary column or in records with ``bytes`` (and ``path``), as
Hugging Face's ``datasets`` writes them, or a file's path, relative to the table. Labels are text,
or numbers that the table names (``ClassLabel``). The split is the column ``split``, or else the
table's folder or name. Images are named ``FILE/ROW`` or ``FILE/ROW/NAME``, without ``FILE`` if
there is only one table.
"""

from __future__ import annotations

import bisect
import importlib
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from headstart.core.errors import ImageError, InputError, missing_extra, one_line
from headstart.core.records import ImageRef, LabelSet, Listing
from headstart.core.targets import MULTI_LABEL, SINGLE_LABEL
from headstart.datasets import (
    columns,
    hints,
    label_columns,
    label_sets,
    listed_paths,
    object_columns,
    signatures,
    storage,
)
from headstart.datasets.label_sets import LISTS, OWN, Rule, found_columns, of_cells
from headstart.datasets.layout import NoImages
from headstart.datasets.listing import distinct, make_listing, unique
from headstart.datasets.reader import ContainerFile, ContainerReader, Entry, Handle
from headstart.datasets.registry import DEFAULTS, Container, Options
from headstart.datasets.storage import State
from headstart.datasets.webdataset import split_of

PARQUET = ".parquet"
ARROW = ".arrow"

_PATH = ".path"  # the field of a record that holds the name of the file
_ROWS = 32  # rows of a batch
_KEPT = 8  # batches kept for other threads that read nearby rows


@dataclass(frozen=True)
class TableReader(ContainerReader):
    """Reads images from rows of the column `ContainerFile.part`."""

    @staticmethod
    def open(file: ContainerFile) -> Handle:
        """Open a table."""
        parquet = file.place.lower().endswith(PARQUET)
        return (_ParquetRows if parquet else _ArrowRows)(file.place, file.part)


class TableSource(Container):
    """Parquet and Arrow files."""

    name = "table"
    suffixes = (PARQUET, ARROW)
    has_columns = True

    def __init__(self, options: Options = DEFAULTS) -> None:
        self._options = options

    def configured(self, options: Options) -> TableSource:
        """Return a source that reads labels and images from the named columns."""
        return TableSource(options)

    def list_files(self, files: Sequence[str], names: Sequence[str], name: str) -> Listing:
        """List the images of tables; a `HeadstartError` without pyarrow."""
        containers: list[ContainerFile] = []
        entries: dict[str, Entry] = {}
        images: list[ImageRef] = []
        rules: list[Rule | None] = []
        for number, (place, title) in enumerate(zip(files, names, strict=True)):
            try:
                table = _open_table(place)
            except OSError as error:
                shown, mistaken = one_line(place), signatures.of_file(place, _kind(place))
                reason = f"{shown} is {mistaken}" if mistaken else f"cannot read {shown}: "
                raise InputError(reason + ("" if mistaken else storage.reason(error))) from error
            column = _image_column(table, place, self._options.path_column)
            if isinstance(column, _PathColumn):
                if len(files) > 1:
                    raise InputError(
                        f"{one_line(place)} has paths, not images; with several tables the images "
                        "must be in them"
                    )
                return _list_paths(table, column.name, place, split_of(title), name, self._options)
            containers.append(ContainerFile(place, table.state, column))
            prefix = f"{title}/" if len(files) > 1 else ""
            split = split_of(title, several=len(files) > 1)
            rule = _rule(table, column, place, self._options)
            rules.append(rule)
            rows = list(_rows(table, column, place, split, self._options, rule))
            labels = [image.label for image, _ in rows]
            if rule is None and _has_numbers(table, column, self._options):
                labels = columns.without_marks(labels)
            for row, (image, file) in enumerate(rows):
                path = f"{prefix}{row:06d}{f'/{file}' if file else ''}"
                entries[path] = Entry(number, row)
                images.append(replace(image, path=path, label=labels[row]))
        if not images:
            raise NoImages(f"{one_line(name)} has no rows; choose another table")
        labelled = any(image.is_labelled for image in images)
        hint, remarks = _hint(table, containers[-1].part, labelled=labelled)
        reader = TableReader(entries, tuple(containers))
        remarks += dict.fromkeys(rule.remark for rule in rules if rule)
        flags = [flag for rule in rules if rule for flag in rule.classes]
        listing = make_listing(Path(), images, {}, name, remarks=remarks, hint=hint, labels=flags)
        return replace(listing, reader=reader)


class _PathColumn(NamedTuple):
    name: str


@dataclass(frozen=True)
class _Table:
    """A table during listing; ``batches`` yields the rows of some of its columns."""

    state: State
    schema: Any
    features: Any
    batches: Callable[[Sequence[str]], Iterator[Any]]
    n_rows: int


def _open_table(place: str) -> _Table:
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
                return iter(table.select([n.removesuffix(_PATH) for n in names]).to_batches())

    except pyarrow.ArrowException as error:
        mistaken = signatures.of_file(place, _kind(place))
        reason = mistaken or f"damaged: {storage.reason(error)}; copy it again"
        raise InputError(f"{one_line(place)} is {reason}") from error
    description = (schema.metadata or {}).get(b"huggingface")
    return _Table(state, schema, columns.features_of(description), batches, n_rows)


def _kind(place: str) -> str:
    return signatures.PARQUET if place.lower().endswith(PARQUET) else signatures.ARROW


def _has_numbers(table: _Table, column: str, options: Options) -> bool:
    """Tell whether labels are numbers."""
    name = _label_column(table, column, options)
    return name is not None and _pyarrow().types.is_integer(table.schema.field(name).type)


def _label_column(table: _Table, column: str, options: Options) -> str | None:
    others = [name for name in table.schema.names if name != column]
    named = options.label_column
    own = columns.find(others, (named,) if named else columns.LABELS)
    if own is None and not named and options.labels and options.target != SINGLE_LABEL:
        return object_columns.column(_pyarrow().types, table.schema)
    return own


def _hint(table: _Table, column: str, *, labelled: bool) -> tuple[str, list[str]]:
    """Return the hint and the remarks about a table in which no image has a label."""
    others = [name for name in table.schema.names if name != column]
    return hints.of_columns([] if labelled else others)


def _image_column(table: _Table, place: str, named: str) -> str | _PathColumn:
    """Return the column of images or paths: the ``named`` one, or that with a usual name."""
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
    usual = columns.find(binary, (named,) if named else columns.IMAGES)
    column = usual or (binary[0] if len(binary) == 1 and not named else None)
    if column is not None:
        return column
    path = columns.find(texts, (named,) if named else (*columns.PATHS, *columns.IMAGES))
    if path is not None and (named or not binary):
        return _PathColumn(path)
    raise InputError(
        f"{one_line(place)} has no column {named or 'that is clearly the images'}; call it image "
        "(bytes) or path, or name it with --path-column; it has: "
        f"{one_line(', '.join(table.schema.names))}"
    )


def _rule(table: _Table, column: str, place: str, options: Options) -> Rule | None:
    """Return how rows have several labels; None if they have one or none.

    Raises:
        InputError: the table lacks a column that the user names.
    """
    shown, types = one_line(place), _pyarrow().types
    if options.target == SINGLE_LABEL or not options.labels:
        return None
    others = [name for name in table.schema.names if name != column]
    if rule := label_columns.requested(others, options, shown):
        return rule
    label = _label_column(table, column, options)
    if label is None:
        names = label_columns.other_columns(others, ())
        flags = [
            name
            for name in names
            if any(
                test(table.schema.field(name).type)
                for test in (types.is_integer, types.is_boolean, types.is_floating)
            )
        ]
        rows = (row for batch in table.batches(flags) for row in batch.to_pylist()) if flags else ()
        matching = found_columns(rows, flags)
        return label_columns.found_rule(names, matching, options.target, shown)
    if rule := object_columns.rule(types, table.schema.field(label), table.features):
        return rule
    if options.target != MULTI_LABEL and label.lower() != LISTS:
        return None
    batches = table.batches([label])
    cells = {value for batch in batches for value in _values(batch.column(label), shown)}
    rule = of_cells(cells, label, options.target)
    return rule and replace(rule, names=tuple(columns.hugging_face_names(table.features, label)))


def _rows(
    table: _Table, column: str, place: str, split: str, options: Options, rule: Rule | None
) -> Iterator[tuple[ImageRef, str]]:
    """Yield the label and split of each row, and the name of its file, perhaps empty."""
    kind = table.schema.field(column).type
    inner = _pyarrow().types.is_struct(kind) and kind.get_field_index("path") >= 0
    field = _PATH if inner else None
    for path, labels, part in _cells(table, column, field, place, split, options, rule):
        name = str(path or "").replace("\\", "/").rpartition("/")[2].replace("\0", "")
        yield label_sets.image("", labels, part), name


def _list_paths(
    table: _Table, column: str, place: str, split: str, name: str, options: Options
) -> Listing:
    if storage.is_url(place):
        raise InputError(f"{one_line(place)} has paths; only a local table can have them; copy it")
    ignored = Counter[str]()
    rule = _rule(table, column, place, options)
    rows = partial(_path_rows, table, column, place, split, options, rule)
    merged = rule is not None and not rule.columns and options.target == MULTI_LABEL
    images: Iterable[ImageRef] = distinct(rows, ignored)
    if rule:
        images = unique(rows(), ignored, merged=merged).values()
    labels = rule.classes if rule else ()
    listing = make_listing(Path(place).parent, images, ignored, name, labels=labels)
    if not listing.images:
        raise NoImages(f"{one_line(name)} has no rows; choose another table")
    missing = listed_paths.check(listing.images, next(rows())[1].path, Path(place))
    hint, remarks = _hint(table, column, labelled=bool(listing.classes))
    hint = "" if listing.classes else hint
    about = [*remarks, *missing, *([rule.remark] if rule else [])]
    return replace(listing, remarks=(*about, *listing.remarks), hint=hint)


def _path_rows(
    table: _Table, column: str, place: str, split: str, options: Options, rule: Rule | None
) -> Iterator[tuple[str, ImageRef]]:
    root, shown = Path(place).parent, one_line(place)
    cells = _cells(table, column, "", place, split, options, rule)
    for row, (cell, labels, part) in enumerate(cells):
        path = listed_paths.name(str(cell or ""), root, f"{shown}, row {row}")
        yield f"{shown}, row {row}", label_sets.image(path, labels, part)


def _cells(
    table: _Table,
    column: str,
    field: str | None,
    place: str,
    split: str,
    options: Options,
    rule: Rule | None,
) -> Iterator[tuple[Any, LabelSet | str | None, str]]:
    """Yield the cell in a column, the label or labels, and the split of each row.

    ``field`` is the field of the cell to read, with a dot; empty reads the cell, None nothing.
    """
    others = [name for name in table.schema.names if name != column]
    label, named = _label_column(table, column, options), one_line(options.label_column)
    if named and label is None:
        present = one_line(", ".join(others))
        raise InputError(f"{one_line(place)} has no column {named}; it has: {present}")
    own = columns.find(others, (columns.SPLIT,))
    classes = columns.hugging_face_names(table.features, label) if label else []
    flags = rule.columns if rule else ()
    label = None if flags else label
    requested = [name for name in (label, own, *flags) if name]
    requested += [] if field is None else [column + field]
    if not requested:
        yield from ((None, None, split) for _ in range(table.n_rows))
    row = 0
    for batch in table.batches(requested) if requested else ():
        where = f"{one_line(place)}, rows {row} to {row + len(batch) - 1}"
        cells = {name: _values(batch.column(name), where) for name in (label, own, *flags) if name}
        values: list[Any] = [None] * len(batch)
        if field is not None:
            array = batch.column(column)
            values = _values(array.field(field[1:]) if field else array, where)
        for index, value in enumerate(values):
            where = f"{one_line(place)}, row {row}"
            row += 1
            labels: LabelSet | str | None = None
            if rule:
                own_cells = {OWN + name: cells[name][index] for name in flags}
                own_cells |= {"label": cells[label][index]} if label else {}
                labels = rule.labels(own_cells, where)
            elif label:
                labels = columns.label(cells[label][index], classes, where)
            yield (
                value,
                labels,
                columns.split(cells[own][index] if own else "", split, where),
            )


def _values(array: Any, where: str) -> list[Any]:  # noqa: ANN401
    try:
        return list(array.to_pylist())
    except UnicodeDecodeError:
        raise InputError(f"{where}: a text is not UTF-8; write the table again") from None


def _content(value: Any) -> bytes:  # noqa: ANN401
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        path = isinstance(value, dict) and value.get("path")
        raise ImageError("its row has no bytes" + (", only a path" if path else ""))
    return content


class _ArrowRows:
    """Rows of a memory-mapped file."""

    def __init__(self, place: str, column: str) -> None:
        self._values = _arrow(place).column(column)

    def get(self, entry: Entry) -> bytes:
        return _content(self._values[entry.position].as_py())

    def close(self) -> None:
        del self._values


class _ParquetRows:
    """Rows of a Parquet file, which is read forward from the start of a row group.

    Threads share the latest batches. For an earlier row, its group is read again from the start.
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
        self._lock = threading.Lock()
        self._batches: Iterator[Any] = iter(())
        self._next = -1  # first row of the next batch
        self._kept: OrderedDict[int, Any] = OrderedDict()

    def get(self, entry: Entry) -> bytes:
        with self._lock:
            values, start = self._batch(entry.position)
        return _content(values[entry.position - start].as_py())

    def close(self) -> None:
        self._file.close(force=True)

    def _batch(self, row: int) -> tuple[Any, int]:
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
        raise InputError(f"{one_line(place)} must be a local file; copy it, or save it as Parquet")
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
