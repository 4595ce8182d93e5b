"""The stage from features to a comparison of heads: tune on the training pool, test once.

`stage` runs it, `alignment` lays several stores side by side, `scoring` turns probabilities into
figures and verdicts, `identity` says what went in, and `results` writes it all down.
"""

from pipeline.callable_module import make_callable
from pipeline.compare.config import CompareConfig
from pipeline.compare.identity import inputs_digest
from pipeline.compare.results import write_results
from pipeline.compare.scoring import Entry
from pipeline.compare.stage import Outcome, compare

__all__ = ["CompareConfig", "Entry", "Outcome", "compare", "inputs_digest", "write_results"]

make_callable(__name__)
