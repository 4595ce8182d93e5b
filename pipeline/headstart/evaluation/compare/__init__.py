"""The stage from features to a comparison of heads: tune on the training pool, test once.

`stage` runs it, `alignment` lays several stores side by side, `scoring` turns probabilities into
figures and verdicts, `identity` says what went in, and `results` writes it all down.
"""

from headstart.evaluation.compare.config import CompareConfig
from headstart.evaluation.compare.identity import inputs_digest
from headstart.evaluation.compare.results import write_results
from headstart.evaluation.compare.scoring import Entry
from headstart.evaluation.compare.stage import Outcome, compare

__all__ = ["CompareConfig", "Entry", "Outcome", "compare", "inputs_digest", "write_results"]
