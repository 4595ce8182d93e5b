"""The results of a comparison as one self-contained HTML page.

The page loads nothing: style, scripts (plotly's and `assets/report.js`), data and thumbnails are
inline, and its content security policy allows these scripts, by their hashes, and no network. Every
text from outside (class names, paths, parameters) is made printable and then escaped on its way
into the template, in one place: the environment of `_template`; what the script reads is JSON that
cannot end its element (`album.script_json`).
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from headstart.core import artifacts
from headstart.core.files import write_text
from headstart.core.records import SPLITS, FeatureSet
from headstart.report import (
    figures,
    formatting,
    plots,
    projection,
    tables,
    thumbnails_sheet,
    validation,
)

MATRIX_CLASSES = 40  # beyond, a matrix is a carpet: the most confused pairs say more
PAIRS_SHOWN = 30
CONFUSIONS_IN_WORDS = 6
SUSPECTS_SHOWN = 60
GROUPS_SHOWN = 40
COPIES_SHOWN = 4  # of one group
FAILURES_SHOWN = 100
PLOTS = "plots"
_MAPS = {"tsne": "PCA, then t-SNE", "umap": "PCA, then UMAP", "pca": "the first two axes of PCA"}
PLOT_FILES = tuple(f"{PLOTS}/{name}.svg" for name in plots.FIGURES)


def render(results: dict[str, Any], predictions: list[dict[str, str]] | None = None) -> str:
    """Return the report as one HTML page that needs nothing else.

    Args:
        results: the document of `Comparison.to_json`.
        predictions: the rows of ``predictions.csv`` for the best head, with the keys ``path``,
            ``true``, ``predicted`` and one probability ``p:<class>`` a class; None leaves the list
            of errors out.

    Raises:
        InputError: ``results`` or ``predictions`` are not what `evaluation.compare` makes.
    """
    checked = validation.check(results, "the results")
    answers = None if predictions is None else tables.answers(predictions, "the predictions")
    return _page(checked, _Beside(answers))


def write_report(
    folder: Path, stores: Sequence[FeatureSet] = (), how: str = projection.HOW[0]
) -> Path:
    """Write ``report.html`` from ``results.json`` and the tables beside it, as far as there are.

    The page appears whole or not at all; an older one stays until then.

    Args:
        folder: the folder that ``headstart train-heads`` wrote.
        stores: what it was written from. The one that the best head reads gives thumbnails and
            the map; without it the page does without them and says so.
        how: the map is made, one of `headstart.report.projection.HOW`.

    Returns:
        The path of the page.

    Raises:
        InputError: one of the files is missing, damaged or of another program.
        OutputError: the page cannot be written.
    """
    results = validation.read_results(folder / artifacts.RESULTS)
    digest = results["extraction"]["digest"]
    beside = _Beside(
        tables.read_answers(folder / artifacts.PREDICTIONS),
        tables.read_suspects(folder / artifacts.LABEL_ISSUES),
        tables.read_copies(folder / artifacts.DUPLICATES),
        tables.read_history(folder / artifacts.HISTORY),
        next((store for store in stores if store.digest == digest), None),
        how,
    )
    path = folder / artifacts.REPORT
    write_text(path, _page(results, beside))
    return path


def store_paths(folder: Path) -> list[Path]:
    """Return the stores that ``results.json`` names; older results name none.

    Raises:
        InputError: ``results.json`` is missing, damaged or of another program.
    """
    named = validation.read_results(folder / artifacts.RESULTS)["provenance"].get("stores")
    if not isinstance(named, list):
        return []
    return [Path(path) for path in named if isinstance(path, str)]


def write_plots(folder: Path) -> list[Path]:
    """Write the figures of ``results.json`` as SVG files into the folder ``plots``.

    Args:
        folder: the folder that ``headstart train-heads`` wrote.

    Returns:
        The paths of the files.

    Raises:
        InputError: ``results.json`` is missing, damaged or of another program.
        OutputError: a file cannot be written.
    """
    results = validation.read_results(folder / artifacts.RESULTS)
    paths = [folder / name for name in PLOT_FILES]
    for path, draw in zip(paths, plots.FIGURES.values(), strict=True):
        write_text(path, draw(results))
    return paths


def _head_view(
    head: Mapping[str, Any], axis: figures.Axis, several: bool = False
) -> dict[str, Any]:
    """Return a head with what its row and its search table show.

    Args:
        head: of ``results.json``.
        axis: of the plot of intervals.
        several: whether heads of several backbones are compared, so that titles name them.
    """
    title = head["title"] + (f" on {head['backbone']}" if several else "")
    accuracy, (low, high) = head["test_accuracy"], head["test_accuracy_ci"]
    columns = list(dict.fromkeys(key for tried in head["grid"] for key in tried["params"]))
    grid = [
        {
            "values": [formatting.value(tried["params"].get(key, "–")) for key in columns],
            "cv_accuracy": tried["cv_accuracy"],
            "cv_std": tried["cv_std"],
            "chosen": tried["params"].items() <= head["params"].items(),
        }
        for tried in head["grid"]
    ]
    return {
        **head,
        "title": title,
        "label": formatting.label(title),
        "settings": [f"{key} = {formatting.value(value)}" for key, value in head["params"].items()],
        "dot": axis.at(accuracy) if axis.low <= accuracy <= axis.high else "",
        "whisker": (axis.at(low), axis.at(high)) if high > axis.low and low < axis.high else None,
        "beyond": "below" if accuracy < axis.low else "above",
        "columns": columns,
        "grid": grid,
    }


def _images(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table of images by class and split."""
    images: Mapping[str, Mapping[str, int]] = dataset["images"]
    splits = [
        split for split in dict.fromkeys([*SPLITS, *images]) if sum(images.get(split, {}).values())
    ]
    rows = [(name, [images[split].get(name, 0) for split in splits]) for name in dataset["classes"]]
    return {
        "splits": splits,
        "rows": rows,
        "totals": figures.column_sums(counts for _, counts in rows),
    }


@dataclass(frozen=True)
class _Beside:
    """What lies beside the results; None or empty where there is no such file."""

    answers: list[tables.Answer] | None = None
    suspects: list[tables.Suspect] = field(default_factory=list)
    copies: list[list[tables.Copy]] = field(default_factory=list)
    history: Mapping[str, Any] = field(default_factory=dict)
    data: FeatureSet | None = None
    how: str = projection.HOW[0]


def _about_images(results: Mapping[str, Any], beside: _Beside) -> dict[str, Any]:
    """Return what the page shows of single images."""
    answers = beside.answers or []
    mistakes = tables.mistakes(answers)
    suspects = beside.suspects[:SUSPECTS_SHOWN]
    copies = [
        {
            "images": group[:COPIES_SHOWN],
            "more": max(0, len(group) - COPIES_SHOWN),
            "leak": tables.leaks(group),
            "contradicts": tables.contradict(group),
        }
        for group in beside.copies[:GROUPS_SHOWN]
    ]
    listed = [
        *(mistake.path for mistake in mistakes),
        *(suspect.path for suspect in suspects),
        *(copy.path for group in beside.copies[:GROUPS_SHOWN] for copy in group[:COPIES_SHOWN]),
    ]
    failed = [] if beside.data is None else beside.data.failures[:FAILURES_SHOWN]
    return {
        "mistakes": None if beside.answers is None else mistakes,
        "suspects": suspects,
        "n_suspects": len(beside.suspects),
        "copies": copies,
        "n_copies": len(beside.copies),
        "n_leaks": sum(map(tables.leaks, beside.copies)),
        "failed": failed,
        "album": thumbnails_sheet.make(
            beside.data, answers, listed, results["dataset"]["classes"], beside.how
        ),
        "map_method": _MAPS[beside.how],
        "history": beside.history,
    }


def _scripts(
    results: Mapping[str, Any], best: Mapping[str, Any], shown: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the page's scripts, the hashes that its policy names them by, and their data."""
    plotly, script = _plotly(), _asset("report.js")
    hashes = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
        for text in (plotly, script)
    )
    document = {
        "classes": [formatting.printable(name) for name in results["dataset"]["classes"]],
        "images": shown["album"].document,
        "reliability": best["reliability"],
        "curve": results["insights"].get("learning_curve"),
        "history": shown["history"],
    }
    return {
        "style": _asset("report.css"),
        "plotly": plotly,
        "script": script,
        "hashes": Markup(" ".join(f"'sha256-{text}'" for text in hashes)),
        "document": thumbnails_sheet.script_json(document),
    }


def _curve(results: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the learning curve with the name of its head, or None if none was drawn."""
    curve = results["insights"].get("learning_curve")
    return {**curve, "title": figures.title(results, curve["head"])} if curve else None


@functools.cache
def _asset(name: str) -> Markup:
    """Return a file of ours that goes into the page as it is."""
    return Markup((Path(__file__).parent / "assets" / name).read_text(encoding="utf-8"))


@functools.cache
def _plotly() -> Markup:
    """Return plotly.js as the Python package holds it (MIT; its notice is its first lines)."""
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs().replace("</script", "<\\/script"))


def _page(results: Mapping[str, Any], beside: _Beside) -> str:
    """Fill the template from checked results."""
    shown = _about_images(results, beside)
    dataset, heads, baselines = results["dataset"], results["heads"], results["baselines"]
    classes = dataset["classes"]
    accuracies = [x for head in heads for x in (head["test_accuracy"], *head["test_accuracy_ci"])]
    axis = figures.axis(accuracies)
    best = next(head for head in heads if head["name"] == results["best"])
    constant = [base["confusion"] for base in baselines if base["name"] == "most-frequent"]
    answers = figures.cells(constant[0]).answers if constant else Counter({0: 0})
    found = figures.cells(best["confusion"])
    confusions = figures.confusions(classes, found)
    scores = figures.class_scores(classes, found)
    several = len(results["backbones"]) > 1
    views = [_head_view(head, axis, several) for head in heads]
    rivals = [view for view in views if view["verdict"] != "best"]
    return _template().render(
        dataset=dataset,
        protocol=results["protocol"],
        warnings=results["warnings"],
        axis=axis,
        heads=views,
        baselines=[_head_view(base, axis) for base in baselines],
        best=_head_view(best, axis, several),
        ties=[head["title"] for head in rivals if head["verdict"] == "tie"],
        ahead_of_all=bool(rivals) and all(head["verdict"] == "worse" for head in rivals),
        frequent_class=classes[answers.most_common(1)[0][0]],
        n_wrong=sum(pair.times for pair in confusions),
        matrix=figures.matrix(classes, found) if len(classes) <= MATRIX_CLASSES else None,
        matrix_limit=MATRIX_CLASSES,
        pairs=confusions[:PAIRS_SHOWN],
        confusions=confusions[:CONFUSIONS_IN_WORDS],
        n_pairs=len(confusions),
        scores=scores,
        hardest=figures.hardest(scores),
        curve=_curve(results),
        **shown,
        **_scripts(results, best, shown),
        images=_images(dataset),
        backbone=results["extraction"]["document"]["backbone"],
        backbones=results["backbones"],
        score_names=list(dict.fromkeys(key for b in results["backbones"] for key in b["scores"])),
        digest=results["extraction"]["digest"],
        provenance=results["provenance"],
    )


@functools.cache
def _template() -> jinja2.Template:
    """Return the page's template; whatever it prints is made printable, then escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=formatting.printable,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": formatting.percent,
        "interval": formatting.interval,
        "number": formatting.number,
        "count": "{:,}".format,
        "and": formatting.conjunction,
        "moment": formatting.moment,
        "facts": formatting.facts,
    }
    return environment.get_template("report.html.j2")
