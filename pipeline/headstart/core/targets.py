"""What is predicted: the target types, such as one class an image or several labels an image.

A target type is one record. It says what a store of such images has besides the common columns, and
which class does its part in each room that treats targets differently. A third type, such as a
number an image, is one more record and the classes that it names.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headstart.core.choices import TARGETS
from headstart.core.errors import InputError, one_line

SINGLE_LABEL, MULTI_LABEL = TARGETS


@dataclass(frozen=True)
class TargetType:
    """One kind of target.

    Attributes:
        name: its name in stores, results and models, and on the command line.
        noun: what one of the things that a model tells apart is called.
        answers: what a model of it returns for an image, for messages.
        parts: by their purpose, the modules that do the work for this type. They load when they
            are first used, and each purpose has the same functions for every type.
    """

    name: str
    noun: str
    answers: str
    parts: Mapping[str, str] = field(default_factory=dict)

    def part(self, purpose: str) -> Any:  # noqa: ANN401 - a module
        """Return this type's module for a purpose.

        Raises:
            InputError: there is none.
        """
        if purpose not in self.parts:
            raise InputError(f"a {purpose} is not available for {self.name} data")
        return importlib.import_module(self.parts[purpose])


_types: dict[str, TargetType] = {}


def register(target: TargetType) -> None:
    """Add a target type; an `InputError` if its name is taken."""
    if target.name in _types:
        raise InputError(f"a target type named {one_line(target.name)} exists; choose another name")
    _types[target.name] = target


def unregister(name: str) -> None:
    """Remove a target type that `register` added."""
    del _types[name]


def by_name(name: str) -> TargetType:
    """Return the target type with a name; an `InputError` if there is none."""
    if name not in _types:
        raise InputError(f"no target {one_line(name)}; choose among {', '.join(_types)}")
    return _types[name]


register(
    TargetType(
        SINGLE_LABEL,
        "class",
        "one class",
        {
            "comparison": "headstart.evaluation.compare.single_label",
            "leaderboard": "headstart.workflows.leaderboard.single_label",
            "report": "headstart.report.single_label",
            "training": "headstart.workflows.trained.single_label",
            "model": "headstart.models.bundle.single_label",
            "card": "headstart.models.bundle.model_card",
            "answers": "headstart.models.answers.single_label",
            "assessment": "headstart.evaluation.assess",
            "assessment record": "headstart.core.assessment",
            "assessment page": "headstart.report.evaluation_page",
            "assessment table": "headstart.cli.evaluation_table",
            "finetuning": "headstart.finetune.single_label",
            "backbone choice": "headstart.evaluation.backbone_scores",
            "precision": "headstart.backbones.inference.single_label",
        },
    )
)
register(
    TargetType(
        MULTI_LABEL,
        "label",
        "several labels",
        {
            "comparison": "headstart.evaluation.compare.multilabel",
            "leaderboard": "headstart.workflows.leaderboard.multilabel",
            "report": "headstart.report.multilabel",
            "training": "headstart.workflows.trained.multilabel",
            "model": "headstart.models.bundle.multilabel",
            "card": "headstart.models.bundle.label_card",
            "answers": "headstart.models.answers.multilabel",
            "assessment": "headstart.evaluation.label_assess",
            "assessment record": "headstart.core.label_assessment",
            "assessment page": "headstart.report.label_evaluation_page",
            "assessment table": "headstart.cli.label_evaluation_table",
            "finetuning": "headstart.finetune.multilabel",
            "backbone choice": "headstart.evaluation.label_backbone_scores",
            "precision": "headstart.backbones.inference.multilabel",
        },
    )
)
