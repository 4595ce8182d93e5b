"""Stage: a source of images and a backbone become a feature store.

Each worker thread reads, decodes and infers a few images at a time, so pixels never cross a process
border. On a GPU, threads decode the next batch while one is computed. A feature vector does not
depend on the other images, so an interrupted run ends in the same rows as an undisturbed one.

A store is one file (`single_file`) or a folder of them (`shard_driver`). For a folder, `partition`
divides the listing, and workers on threads or a cluster fill one file each (`shard_worker`).
"""

from headstart.core.hooks import Hooks
from headstart.features.embed.config import EmbedConfig, EmbedSummary, Sharding
from headstart.features.embed.set_range import decoded_by
from headstart.features.embed.stage import embed

__all__ = ["EmbedConfig", "EmbedSummary", "Hooks", "Sharding", "decoded_by", "embed"]
