"""Feature stores: one HDF5 file with a row an image, complete whenever it has its final name.

A store may be a folder of such files, too, which a `manifest` makes one.

Work in progress lies in a journal beside the store (`journal`), under a lock (`lock`); publishing
(`writer`) writes a new file in listing order, through a `sink` that keeps a full disk from HDF5,
and renames it over the old one. A `seal` over the whole file is checked before HDF5 sees it; a file
without one is first read by another process (`trial`). `check` names defects, `repair` keeps what
`salvage` finds trustworthy, `reader` reads.
"""

from headstart.features.store.check import verify
from headstart.features.store.content_index import Contents, write_contents
from headstart.features.store.hdf5_writer import Failure
from headstart.features.store.journal import Record
from headstart.features.store.layout import FORMAT, VERSION
from headstart.features.store.manifest import Manifest, Shard
from headstart.features.store.peek import held_extraction
from headstart.features.store.reader import Origin, read, read_layers, read_origin
from headstart.features.store.repair import Repair, repair
from headstart.features.store.seal import told as seal_told
from headstart.features.store.streaming import Block, read_blocks, read_size
from headstart.features.store.writer import FileState, Row, StoreWriter, state_key

__all__ = [
    "FORMAT",
    "VERSION",
    "Block",
    "Contents",
    "Failure",
    "FileState",
    "Manifest",
    "Origin",
    "Record",
    "Repair",
    "Row",
    "Shard",
    "StoreWriter",
    "held_extraction",
    "read",
    "read_blocks",
    "read_layers",
    "read_origin",
    "read_size",
    "repair",
    "seal_told",
    "state_key",
    "verify",
    "write_contents",
]
