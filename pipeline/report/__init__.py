"""The results of a comparison as one self-contained HTML page.

The page loads nothing and runs nothing: style and plots are inline, and its content security policy
forbids the rest. Every text from outside (class names, paths, parameters) is made printable and
then escaped on its way into the template, in one place: the environment of `_template`.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from pipeline.files import write_text
from pipeline.records import SPLITS
from pipeline.report import figures, plots, reading, words

MATRIX_CLASSES = 40  # beyond, a matrix is a carpet: the most confused pairs say more
PAIRS_SHOWN = 30
CONFUSIONS_IN_WORDS = 6
PLOTS = "plots"
PLOT_FILES = tuple(f"{PLOTS}/{name}.svg" for name in plots.FIGURES)


def render(results: dict[str, Any], predictions: list[dict[str, str]] | None = None) -> str:
    """Return the report as one HTML page that needs nothing else.

    Args:
        results: the document of `Comparison.to_json`.
        predictions: the rows of ``predictions.csv`` for the best head, with the keys ``path``,
            ``true``, ``predicted`` and one probability ``p:<class>`` a class; None leaves the list
            of errors out.

    Raises:
        InputError: ``results`` or ``predictions`` are not what `pipeline.compare` makes.
    """
    reading.check(results, "the results")
    mistakes = None if predictions is None else reading.mistakes(predictions, "the predictions")
    return _page(results, mistakes)


def write_report(folder: Path) -> Path:
    """Write ``report.html`` from ``results.json`` and, if it is there, ``predictions.csv``.

    The page appears whole or not at all; an older one stays until then.

    Args:
        folder: the folder that ``headstart train-heads`` wrote.

    Returns:
        The path of the page.

    Raises:
        InputError: one of the two files is missing, damaged or of another program.
        OutputError: the page cannot be written.
    """
    results = reading.read_results(folder / "results.json")
    mistakes = reading.read_mistakes(folder / "predictions.csv")
    path = folder / "report.html"
    write_text(path, _page(results, mistakes))
    return path


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
    results = reading.read_results(folder / "results.json")
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
    title = words.title(head["name"]) + (f" on {head['backbone']}" if several else "")
    accuracy, (low, high) = head["test_accuracy"], head["test_accuracy_ci"]
    columns = list(dict.fromkeys(key for tried in head["grid"] for key in tried["params"]))
    grid = [
        {
            "values": [words.value(tried["params"].get(key, "–")) for key in columns],
            "cv_accuracy": tried["cv_accuracy"],
            "cv_std": tried["cv_std"],
            "chosen": tried["params"].items() <= head["params"].items(),
        }
        for tried in head["grid"]
    ]
    return {
        **head,
        "title": title,
        "label": words.label(title),
        "settings": [f"{key} = {words.value(value)}" for key, value in head["params"].items()],
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


def _page(results: Mapping[str, Any], mistakes: list[reading.Mistake] | None) -> str:
    """Fill the template from checked results."""
    dataset, heads, baselines = results["dataset"], results["heads"], results["baselines"]
    classes = dataset["classes"]
    shown = [x for head in heads for x in (head["test_accuracy"], *head["test_accuracy_ci"])]
    axis = figures.axis(shown)
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
        mistakes=mistakes,
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
        finalize=words.printable,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": words.percent,
        "interval": words.interval,
        "number": words.number,
        "count": "{:,}".format,
        "and": words.conjunction,
        "moment": words.moment,
        "facts": words.facts,
    }
    return environment.get_template("report.html.j2")
