"""What a TFLite file says of its images: the metadata of TensorFlow's Task Library.

Such files are FlatBuffers, of which a few tables are read. Their fields are numbered as in
TensorFlow's ``schema.fbs`` and ``metadata_schema.fbs``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

_NAME = b"TFLITE_METADATA"
_BUFFERS, _METADATA = 4, 6  # of a model
_SUBGRAPHS, _INPUTS, _UNITS = 3, 2, 4  # of its metadata, of a subgraph, of a tensor
_NORMALISATION = 1  # a kind of processing unit; its fields are mean and deviation


def normalisation(path: Path) -> tuple[list[float], list[float]] | None:
    """Return what is subtracted from pixels of 0 to 255 and what divides them; None if not said."""
    data = path.read_bytes()
    if _NAME not in data:
        return None
    try:
        metadata = _metadata(_Table.root(data))
        if metadata is None:
            return None
        image = metadata.tables(_SUBGRAPHS)[0].tables(_INPUTS)[0]
        for unit in image.tables(_UNITS):
            if unit.data[unit.place(0)] == _NORMALISATION:
                options = unit.table(1)
                return options.floats(0), options.floats(1)
    except (IndexError, ValueError, struct.error):  # damaged: it says nothing
        return None
    return None


@dataclass(frozen=True)
class _Table:
    """A table of a FlatBuffer, and where it begins."""

    data: bytes
    start: int

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(data, _number(data, 0))

    def place(self, field: int) -> int:
        """Return where the value of a field is; a `ValueError` if the table lacks it."""
        (back,) = struct.unpack_from("<i", self.data, self.start)
        fields = self.start - back
        (size,) = struct.unpack_from("<H", self.data, fields)
        entry = 4 + 2 * field
        (offset,) = struct.unpack_from("<H", self.data, fields + entry) if entry < size else (0,)
        if not offset:
            raise ValueError(f"no field {field}")
        return self.start + int(offset)

    def table(self, field: int) -> _Table:
        place = self.place(field)
        return _Table(self.data, place + _number(self.data, place))

    def vector(self, field: int) -> tuple[int, int]:
        """Return where a vector's elements begin, and how many there are."""
        place = self.place(field)
        start = place + _number(self.data, place)
        length = _number(self.data, start)
        if length > len(self.data):
            raise ValueError("a vector larger than the file")
        return start + 4, length

    def tables(self, field: int) -> list[_Table]:
        start, length = self.vector(field)
        places = range(start, start + 4 * length, 4)
        return [_Table(self.data, place + _number(self.data, place)) for place in places]

    def floats(self, field: int) -> list[float]:
        start, length = self.vector(field)
        return list(struct.unpack_from(f"<{length}f", self.data, start))

    def content(self, field: int) -> bytes:
        start, length = self.vector(field)
        return self.data[start : start + length]


def _metadata(model: _Table) -> _Table | None:
    """Return the metadata inside one of a model's buffers; None if it has none."""
    for entry in model.tables(_METADATA):
        if entry.content(0) == _NAME:
            number = _number(model.data, entry.place(1))
            return _Table.root(model.tables(_BUFFERS)[number].content(0))
    return None


def _number(data: bytes, place: int) -> int:
    return int(struct.unpack_from("<I", data, place)[0])
