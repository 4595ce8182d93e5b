"""Where a model looks: maps over the picture of what speaks for a class, and nearest images."""

from headstart.models.explain.explainer import Explainer, Explanation
from headstart.models.explain.stage import explained

__all__ = ["Explainer", "Explanation", "explained"]
