"""``results.json`` and the tables beside it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from headstart.core.artifacts import DUPLICATES, LABEL_ISSUES, PREDICTIONS, RESULTS, SESSIONS
from headstart.core.files import write_text
from headstart.core.label_results import LabelComparison
from headstart.core.label_text import TRUE, join
from headstart.evaluation.compare.multilabel.division import label_sets
from headstart.evaluation.compare.multilabel.scoring import image_answers
from headstart.evaluation.compare.multilabel.stage import LabelOutcome
from headstart.evaluation.compare.results import (
    document,
    duplicates_table,
    sessions_table,
    write_groups,
)
from headstart.evaluation.group_answers import label_table

TABLES = (PREDICTIONS, LABEL_ISSUES, DUPLICATES, SESSIONS)


def write_results(
    folder: Path, comparison: LabelComparison, outcome: LabelOutcome
) -> tuple[Path, Path]:
    """Write ``results.json`` and the tables beside it, each whole or not at all.

    ``predictions.csv`` has a row for each image that is scored: ``path``, ``true`` and
    ``predicted``, labels separated by ``|``, ``correct`` if all known labels are right, and for
    each label ``true:<label>``, 1, 0 or empty if unknown, and ``p:<label>``, the best head's
    probability; the labels by the other heads are ``by:<head>``. ``label_issues.csv`` has a row for
    each doubtful label of a training image: ``path``, ``split``, ``label``, ``given``, 1 or 0,
    ``score``, the probability that this is right, ``tier`` and ``chance`` that it is wrong. The
    other tables are those of `headstart.evaluation.compare.results.write_results`.
    """
    results, predictions = folder / RESULTS, folder / PREDICTIONS
    data, rows, repeated = outcome.best.data, outcome.protocol, outcome.duplicates
    write_text(predictions, _predictions(outcome))
    write_text(folder / LABEL_ISSUES, _label_issues(outcome))
    write_text(folder / DUPLICATES, duplicates_table(data, rows, repeated))
    write_text(folder / SESSIONS, sessions_table(data, repeated))
    groups = None
    if outcome.grouping is not None:
        own = image_answers("", outcome.best)
        groups = label_table(outcome.grouping, label_sets(data)[rows.test], own, data.classes)
    write_groups(folder, groups)
    write_text(results, document(comparison.to_json()))
    return results, predictions


def _label_issues(outcome: LabelOutcome) -> str:
    data, text = outcome.best.data, io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "split", "label", "given", "score", "tier", "chance"])
    for each in outcome.suspects:
        place = (data.path[each.row], data.split[each.row], data.classes[each.code])
        facts = (f"{each.score:.6f}", each.tier, f"{each.chance:.4f}")
        table.writerow([*place, int(each.present), *facts])
    return text.getvalue()


def _predictions(outcome: LabelOutcome) -> str:
    best, *others = outcome.entries
    data, classes = best.data, best.data.classes
    several = len({entry.backbone for entry in outcome.entries}) > 1
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(
        [
            *("path", "true", "predicted", "correct"),
            *(f"{TRUE}{name}" for name in classes),
            *(f"p:{name}" for name in classes),
            *(f"by:{e.backbone}/{e.head.name}" if several else f"by:{e.head.name}" for e in others),
        ]
    )
    answers = [entry.predicted for entry in outcome.entries]

    def joined(number: int, place: int) -> str:
        return join(name for name, has in zip(classes, answers[number][place], strict=True) if has)

    for place, row in enumerate(outcome.protocol.test.tolist()):
        true = label_sets(data)[row]
        judged = true >= 0
        right = bool(((true == 1) == answers[0][place])[judged].all())
        table.writerow(
            [
                data.path[row],
                data.label_text(row),
                joined(0, place),
                "true" if right else "false",
                *("" if state < 0 else state for state in true.tolist()),
                *(f"{p:.6f}" for p in best.probabilities[place].tolist()),
                *(joined(number, place) for number in range(1, len(answers))),
            ]
        )
    return text.getvalue()
