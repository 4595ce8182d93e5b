"""The comparison of heads for several labels on one image.

It has the steps of `headstart.evaluation.compare.stage`, whose functions this part of the target
type has too: `check_settings`, `compare`, `count_steps`, `compare_tuned` and
`write_results`.
"""

from headstart.evaluation.compare.multilabel.finetuned import compare_tuned
from headstart.evaluation.compare.multilabel.stage import compare, count_steps
from headstart.evaluation.compare.multilabel.tables import TABLES, write_results
from headstart.evaluation.compare.multilabel.training import LabelEntry, check_settings

__all__ = [
    "TABLES",
    "LabelEntry",
    "check_settings",
    "compare",
    "compare_tuned",
    "count_steps",
    "write_results",
]
