"""The stage from features to a comparison of heads: tune on the training pool, test once.

`stage` runs it: `alignment` matches the images of several stores, `division` splits them,
`training` fits the heads, `scoring` and `insights` evaluate them, and `results` writes the files.
`multilabel` has these steps for several labels on one image; `dispatch` asks the stores' target.
"""

from headstart.evaluation.compare.config import CompareConfig
from headstart.evaluation.compare.dispatch import (
    compare,
    compare_tuned,
    count_steps,
    tables,
    write_results,
)
from headstart.evaluation.compare.identity import inputs_digest
from headstart.evaluation.compare.network import TunedNetwork
from headstart.evaluation.compare.scoring import Entry
from headstart.evaluation.compare.stage import Outcome

__all__ = [
    "CompareConfig",
    "Entry",
    "Outcome",
    "TunedNetwork",
    "compare",
    "compare_tuned",
    "count_steps",
    "inputs_digest",
    "tables",
    "write_results",
]
