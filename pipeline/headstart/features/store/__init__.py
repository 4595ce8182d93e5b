"""Feature stores: HDF5 files with one row an image, complete whenever they have their final name.

A store is one file, or a folder of files that a `manifest` makes one. `columns` lists its datasets.

Work in progress is in a journal beside the store, under a lock. The writer publishes a new file by
renaming it over the old one. A `seal` over the whole file is checked before HDF5 opens it; another
process reads files without one first (`core.sandbox`).
"""

from headstart.features.store.check import verify
from headstart.features.store.opening import remedy
from headstart.features.store.reader import (
    Block,
    Origin,
    read,
    read_blocks,
    read_classes,
    read_layers,
    read_origin,
    read_size,
)
from headstart.features.store.repair import repair
from headstart.features.store.writer import stored_extraction

FeatureStore = read  # the name in the public API

__all__ = [
    "Block",
    "FeatureStore",
    "Origin",
    "read",
    "read_blocks",
    "read_classes",
    "read_layers",
    "read_origin",
    "read_size",
    "remedy",
    "repair",
    "stored_extraction",
    "verify",
]
