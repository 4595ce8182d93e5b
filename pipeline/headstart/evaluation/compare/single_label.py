"""The comparison of heads that give one class an image, as a part of its target type."""

from headstart.core.artifacts import DUPLICATES, LABEL_ISSUES, PREDICTIONS, SESSIONS
from headstart.evaluation.compare.finetuned import compare_tuned
from headstart.evaluation.compare.results import write_results
from headstart.evaluation.compare.stage import compare, count_steps

TABLES = (PREDICTIONS, LABEL_ISSUES, DUPLICATES, SESSIONS)

__all__ = ["TABLES", "compare", "compare_tuned", "count_steps", "write_results"]
