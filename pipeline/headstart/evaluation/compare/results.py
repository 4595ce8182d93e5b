"""``results.json`` and the tables beside it."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from headstart.core import artifacts
from headstart.core.files import write_text
from headstart.core.records import FeatureSet
from headstart.core.results import Comparison
from headstart.evaluation import group_answers
from headstart.evaluation.compare.scoring import image_answers
from headstart.evaluation.compare.stage import Outcome
from headstart.evaluation.duplicates import Duplicates
from headstart.evaluation.splits import Protocol

# A list of numbers over several lines; strings never match, as JSON has no line breaks in them.
_NUMBERS = re.compile(r"\[\n\s+(?:null|[-\d])[-+.\deE,\snul]*\n\s+\]")
_ZERO = 5e-7  # smaller values round to 0 at six decimals


def write_results(folder: Path, comparison: Comparison, outcome: Outcome) -> tuple[Path, Path]:
    """Write ``results.json`` and the tables beside it, each whole or not at all.

    ``predictions.csv`` has a row for each image that is scored: ``path``, ``true``, ``predicted``,
    ``correct``, the best head's probability ``p:<class>`` of every class, and the predictions of
    the other heads, ``by:<head>`` or, with several backbones, ``by:<backbone>/<head>``.

    ``label_issues.csv`` has a row for each training image whose label is in doubt, most doubtful
    first: ``path``, ``split``, ``given`` and ``suggested`` label, ``score``, 0 to 1, the
    probability of the given label by models that were not fitted on the image, its ``tier``, and
    ``chance``, the probability that the label is wrong.

    ``duplicates.csv`` has a row for each image that occurs more than once, ordered by ``group``:
    ``path``, ``split``, ``label`` (empty if unknown), ``used`` for ``train`` or ``test`` (empty if
    for neither), the path of the ``closest`` duplicate, its ``kind``, ``exact`` or ``near``, the
    ``cosine`` of the features, the ``correlation`` of the miniatures (empty without them) and
    ``colours``, ``same`` or ``other``.

    ``sessions.csv`` has ``path`` and ``group`` of images that may be of one session, for
    ``--groups``. ``group_predictions.csv`` is `headstart.evaluation.group_answers.table`, for the
    user's groups alone.

    All are UTF-8; bytes that are not Unicode become backslash escapes.

    Returns:
        The paths of the first two.
    """
    results, predictions = folder / artifacts.RESULTS, folder / artifacts.PREDICTIONS
    write_text(predictions, _predictions(outcome))
    write_text(folder / artifacts.LABEL_ISSUES, _label_issues(outcome))
    data, rows, repeated = outcome.best.data, outcome.protocol, outcome.duplicates
    write_text(folder / artifacts.DUPLICATES, duplicates_table(data, rows, repeated))
    write_text(folder / artifacts.SESSIONS, sessions_table(data, repeated))
    groups = None
    if outcome.grouping is not None:
        own = image_answers("", outcome.best)
        groups = group_answers.table(outcome.grouping, data.label[rows.test], own, data.classes)
    write_groups(folder, groups)
    write_text(results, document(comparison.to_json()))
    return results, predictions


def write_groups(folder: Path, text: str | None) -> None:
    """Write the answers for groups; without any, remove those of former results."""
    path = folder / artifacts.GROUP_PREDICTIONS
    if text is None:
        path.unlink(missing_ok=True)
    else:
        write_text(path, text)


def document(results: dict[str, Any]) -> str:
    """Return a JSON document as text, indented, with lists of numbers on one line each."""
    text = json.dumps(results, ensure_ascii=False, allow_nan=False, indent=2)
    return _NUMBERS.sub(_on_one_line, text) + "\n"


def _on_one_line(numbers: re.Match[str]) -> str:
    return f"[{' '.join(numbers[0][1:-1].split())}]"


def _predictions(outcome: Outcome) -> str:
    best, *others = outcome.entries
    data, classes = best.data, best.data.classes
    several = len({entry.backbone for entry in outcome.entries}) > 1
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(
        [
            *("path", "true", "predicted", "correct"),
            *(f"p:{name}" for name in classes),
            *(f"by:{e.backbone}/{e.head.name}" if several else f"by:{e.head.name}" for e in others),
        ]
    )
    answers = np.array([entry.predicted for entry in outcome.entries]).T
    for row, (first, *rest), probabilities in zip(
        outcome.protocol.test, answers, best.probabilities, strict=True
    ):
        true = int(data.label[row])
        table.writerow(
            [
                data.path[row],
                classes[true],
                classes[first],
                "true" if true == first else "false",
                *("0" if p < _ZERO else f"{p:.6f}" for p in probabilities.tolist()),
                *(classes[code] for code in rest),
            ]
        )
    return text.getvalue()


def _label_issues(outcome: Outcome) -> str:
    data, suspects = outcome.best.data, outcome.suspects
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "split", "given", "suggested", "score", "tier", "chance"])
    for judged in suspects.errors.suspects:
        row = suspects.rows[judged]
        table.writerow(
            [
                data.path[row],
                data.split[row],
                data.classes[data.label[row]],
                data.classes[suspects.errors.suggested[judged]],
                f"{suspects.errors.quality[judged]:.6f}",
                suspects.errors.tier(judged),
                f"{suspects.errors.chance[judged]:.4f}",
            ]
        )
    return text.getvalue()


def duplicates_table(data: FeatureSet, protocol: Protocol, duplicates: Duplicates) -> str:
    """Return ``duplicates.csv``, see `write_results`."""
    used = np.full(len(data.path), "", object)
    used[protocol.test], used[protocol.train] = "test", "train"
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    columns = ["group", "path", "split", "label", "used", "closest", "kind", "cosine"]
    table.writerow([*columns, "correlation", "colours"])
    groups = {
        number: place
        for place, number in enumerate(dict.fromkeys(duplicates.group[duplicates.rows]))
    }
    for row in duplicates.rows:
        correlation = duplicates.correlation[row]
        table.writerow(
            [
                groups[duplicates.group[row]],
                data.path[row],
                data.split[row],
                data.label_text(row),
                used[row],
                data.path[duplicates.closest[row]],
                "exact" if duplicates.exact[row] else "near",
                f"{duplicates.cosine[row]:.4f}",
                "" if np.isnan(correlation) else f"{correlation:.4f}",
                "other" if duplicates.recoloured[row] else "same",
            ]
        )
    return text.getvalue()


def sessions_table(data: FeatureSet, duplicates: Duplicates) -> str:
    """Return ``sessions.csv``, see `write_results`."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "group"])
    for row in duplicates.session_rows:
        table.writerow([data.path[row], f"session-{duplicates.session[row]}"])
    return text.getvalue()
