"""The configuration of a comparison."""

from __future__ import annotations

from dataclasses import dataclass, field

from headstart.core.errors import InputError, one_line
from headstart.evaluation.operating_points import TARGETS
from headstart.evaluation.splits import Rules
from headstart.heads import check_names, default_heads

BALANCED = "balanced"


@dataclass(frozen=True)
class CompareConfig(Rules):
    """How heads are compared; the fields of `Rules` decide how images are divided.

    Attributes:
        class_weight: ``balanced`` to give every class the same weight in training, however few
            images it has; None to give every image the same.
        near_duplicates: whether to find photos that were saved again; files with the same bytes are
            always found.
        ignore: codes of remarks to leave out; see `headstart.core.remarks`.
        targets: shares of right answers that thresholds of the confidence are chosen for.
        workers: number of threads, None for one per core; it does not change the results.
    """

    heads: tuple[str, ...] = field(default_factory=default_heads)
    class_weight: str | None = None
    near_duplicates: bool = True
    ignore: tuple[str, ...] = ()
    targets: tuple[float, ...] = TARGETS
    workers: int | None = None

    def __post_init__(self) -> None:
        """Reject an unknown name or a number out of range before any work."""
        super().__post_init__()
        check_names(self.heads)
        if self.class_weight not in (None, BALANCED):
            raise InputError(
                f"the class weight cannot be {one_line(self.class_weight)}; it is {BALANCED} or"
                " none"
            )
        if self.workers is not None and self.workers < 1:
            raise InputError(f"workers must be at least 1, not {self.workers}")
