"""Stage: a source of images and a backbone become a feature store.

Every worker thread reads, decodes and infers a few images after the other, so pixels stay in one
core's cache and never cross a process border; a feature vector does not depend on its neighbours,
which is why an interrupted run ends in the same rows as an undisturbed one. On a GPU the same
threads decode as many images as one inference takes there and hand them over together: while one
batch is computed, the others decode the next.

A store is one file (`single_file`), or a folder of them (`shard_driver`): then the listing is
divided (`partition`) and workers, threads here or processes on a cluster, fill one file each in the
same way (`shard_worker`).
"""

from headstart.features.embed.config import EmbedConfig, EmbedSummary, Hooks, Sharding
from headstart.features.embed.stage import embed

__all__ = ["EmbedConfig", "EmbedSummary", "Hooks", "Sharding", "embed"]
