"""What a TFLite file says of its images: the metadata of TensorFlow's Task Library.

Such files are FlatBuffers, of which a few tables are read, by the package that onnxruntime brings.
Their fields are numbered as in TensorFlow's ``schema.fbs`` and ``metadata_schema.fbs``.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

_NAME = b"TFLITE_METADATA"
_BUFFERS, _METADATA = 4, 6  # of a model
_SUBGRAPHS, _INPUTS, _UNITS = 3, 2, 4  # of its metadata, of a subgraph, of a tensor
_NORMALISATION = 1  # a kind of processing unit; its fields are mean and deviation

Table = Any  # flatbuffers.table.Table


def normalisation(path: Path) -> tuple[list[float], list[float]] | None:
    """Return what is subtracted from pixels of 0 to 255 and what divides them; None if not said."""
    data = path.read_bytes()
    if _NAME not in data:
        return None
    try:
        metadata = _metadata(_root(data))
        if metadata is None:
            return None
        image = _tables(_tables(metadata, _SUBGRAPHS)[0], _INPUTS)[0]
        for unit in _tables(image, _UNITS):
            if unit.Bytes[unit.Pos + _offset(unit, 0)] == _NORMALISATION:
                options = _table(unit.Bytes, unit.Indirect(unit.Pos + _offset(unit, 1)))
                return _floats(options, 0), _floats(options, 1)
    except (IndexError, TypeError, ValueError, struct.error):  # damaged: it says nothing
        return None
    return None


def _metadata(model: Table) -> Table | None:
    """Return the metadata inside one of a model's buffers; None if it has none."""
    for entry in _tables(model, _METADATA):
        if entry.String(entry.Pos + _offset(entry, 0)) == _NAME:
            (number,) = struct.unpack_from("<I", entry.Bytes, entry.Pos + _offset(entry, 1))
            buffer = _tables(model, _BUFFERS)[number]
            start, length = _vector(buffer, 0)
            return _root(buffer.Bytes[start : start + length])
    return None


def _root(data: bytes) -> Table:
    return _table(data, struct.unpack_from("<I", data)[0])


def _table(data: bytes, place: int) -> Table:
    from flatbuffers.table import Table as Reader

    return Reader(data, place)


def _offset(table: Table, field: int) -> int:
    """Return where a field is, from the table on; a `ValueError` if the table lacks it."""
    offset: int = table.Offset(4 + 2 * field)
    if not offset:
        raise ValueError(f"no field {field}")
    return offset


def _vector(table: Table, field: int) -> tuple[int, int]:
    """Return where a vector's elements begin, and how many there are."""
    offset = _offset(table, field)
    length: int = table.VectorLen(offset)
    if length > len(table.Bytes):
        raise ValueError("a vector larger than the file")
    return table.Vector(offset), length


def _tables(table: Table, field: int) -> list[Table]:
    start, length = _vector(table, field)
    places = range(start, start + 4 * length, 4)
    return [_table(table.Bytes, table.Indirect(place)) for place in places]


def _floats(table: Table, field: int) -> list[float]:
    start, length = _vector(table, field)
    return list(struct.unpack_from(f"<{length}f", table.Bytes, start))
