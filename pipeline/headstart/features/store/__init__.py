"""Feature stores: one HDF5 file with a row an image, complete whenever it has its final name.

A store may also be a folder of such files, which a `manifest` makes one. Its datasets are those of
the table in `columns`.

Work in progress lies in a journal beside the store (`journal`), under a lock (`lock`); publishing
(`writer`) writes a new file in listing order (`hdf5_writer`), through a file object that keeps a
full disk from HDF5 (`safe_hdf5`), and renames it over the old one. A `seal` over the whole file is
checked before HDF5 sees it; a file without one is first read by another process
(`core.sandbox`). `check` names defects, `repair` keeps the rows that `recovery` trusts, `reader`
reads.
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
