"""Feature stores: HDF5 files with one row an image, complete whenever they have their final name.

A store is one file, or a folder of files that a `manifest` makes one. `columns` lists its datasets.

Work in progress is in a journal beside the store, under a lock. The writer publishes a new file by
renaming it over the old one. A `seal` over the whole file is checked before HDF5 opens it; another
process reads files without one first (`core.sandbox`).
"""

from headstart.features.store.check import verify
from headstart.features.store.columns import FORMAT, VERSION, Failure, FileState, Row
from headstart.features.store.content_index import Contents, write_contents
from headstart.features.store.journal import Record
from headstart.features.store.manifest import Manifest, Shard
from headstart.features.store.peek import stored_extraction
from headstart.features.store.reader import Origin, read, read_layers, read_origin
from headstart.features.store.repair import Repair, repair
from headstart.features.store.seal import recorded_hash
from headstart.features.store.streaming import Block, read_blocks, read_size
from headstart.features.store.writer import StoreWriter, state_key

FeatureStore = read  # the name in the public API

__all__ = [
    "FORMAT",
    "VERSION",
    "Block",
    "Contents",
    "Failure",
    "FeatureStore",
    "FileState",
    "Manifest",
    "Origin",
    "Record",
    "Repair",
    "Row",
    "Shard",
    "StoreWriter",
    "read",
    "read_blocks",
    "read_layers",
    "read_origin",
    "read_size",
    "recorded_hash",
    "repair",
    "state_key",
    "stored_extraction",
    "verify",
    "write_contents",
]
