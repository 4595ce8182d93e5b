"""The comparison of heads that give one class an image, as a part of its target type."""

from headstart.core.artifacts import DUPLICATES, LABEL_ISSUES, PREDICTIONS, SESSIONS
from headstart.core.errors import InputError
from headstart.evaluation.compare.config import OF_LABELS, CompareConfig
from headstart.evaluation.compare.finetuned import compare_tuned
from headstart.evaluation.compare.results import write_results
from headstart.evaluation.compare.stage import compare, count_steps

TABLES = (PREDICTIONS, LABEL_ISSUES, DUPLICATES, SESSIONS)

__all__ = ["TABLES", "check_settings", "compare", "compare_tuned", "count_steps", "write_results"]


def check_settings(config: CompareConfig) -> None:
    """Raise an `InputError` for a setting that only means something with several labels."""
    if unused := next((name for name in OF_LABELS if getattr(config, name)), ""):
        option = unused.replace("_", "-")
        raise InputError(f"--{option} is for several labels on one image; leave it out")
