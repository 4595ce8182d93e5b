"""Feature stores: one HDF5 file with a row an image, complete whenever it has its final name.

Work in progress lies in a journal beside the store (`journal`), under a lock (`lock`); publishing
(`writer`) writes a new file in listing order, through a `sink` that keeps a full disk from HDF5,
and renames it over the old one. A `seal` over the whole file is checked before HDF5 sees it; a file
without one is first read by another process (`trial`). `check` names defects, `repair` keeps what
`salvage` finds trustworthy, `reader` reads.
"""

from pipeline.store.check import verify
from pipeline.store.filing import Failure
from pipeline.store.held import held_extraction
from pipeline.store.journal import Record
from pipeline.store.layout import FORMAT, VERSION
from pipeline.store.reader import Origin, read, read_layers, read_origin
from pipeline.store.repair import Repair, repair
from pipeline.store.streaming import Block, read_blocks, read_size
from pipeline.store.writer import FileState, Row, StoreWriter, state_key

__all__ = [
    "FORMAT",
    "VERSION",
    "Block",
    "Failure",
    "FileState",
    "Origin",
    "Record",
    "Repair",
    "Row",
    "StoreWriter",
    "held_extraction",
    "read",
    "read_blocks",
    "read_layers",
    "read_origin",
    "read_size",
    "repair",
    "state_key",
    "verify",
]
