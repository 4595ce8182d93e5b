"""The configuration of a comparison."""

from __future__ import annotations

from dataclasses import dataclass, field

from headstart.core.choices import GROUP_ANSWERS
from headstart.core.errors import InputError, one_line
from headstart.evaluation.operating_points import TARGETS
from headstart.evaluation.splits import Rules
from headstart.heads import check_names, default_heads

BALANCED = "balanced"
OF_LABELS = ("per_label", "precision_at_least", "recall_at_least")
"""The settings that only mean something with several labels on one image."""


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
        costs: the cost of each predicted class (column) for each true one (row), see
            `headstart.core.costs`; None for none.
        group_answer: how a group of images gets one answer, one of `core.choices.GROUP_ANSWERS`.
        workers: number of threads, None for one per core; it does not change the results.
        per_label: with several labels on one image, choose hyper-parameters for each label by
            itself.
        precision_at_least: choose each label's threshold for this precision, and the highest
            recall; None, like ``recall_at_least``, chooses the best F1.
    """

    heads: tuple[str, ...] = field(default_factory=default_heads)
    class_weight: str | None = None
    near_duplicates: bool = True
    ignore: tuple[str, ...] = ()
    targets: tuple[float, ...] = TARGETS
    costs: tuple[tuple[float, ...], ...] | None = None
    group_answer: str = GROUP_ANSWERS[0]
    workers: int | None = None
    per_label: bool = False
    precision_at_least: float | None = None
    recall_at_least: float | None = None

    def __post_init__(self) -> None:
        """Reject an unknown name or a number out of range before any work."""
        super().__post_init__()
        check_names(self.heads)
        if self.class_weight not in (None, BALANCED):
            raise InputError(
                f"the class weight cannot be {one_line(self.class_weight)}; it is {BALANCED} or"
                " none"
            )
        if self.group_answer not in GROUP_ANSWERS:
            raise InputError(
                f"the answer of a group cannot be by {one_line(self.group_answer)}; it is by"
                f" {' or '.join(GROUP_ANSWERS)}"
            )
        shares = (self.precision_at_least, self.recall_at_least)
        if None not in shares:
            raise InputError("choose one of --precision-at-least and --recall-at-least")
        if any(share is not None and not 0 < share <= 1 for share in shares):
            raise InputError("precision and recall are shares above 0 and up to 1")
        if self.workers is not None and self.workers < 1:
            raise InputError(f"workers must be at least 1, not {self.workers}")
