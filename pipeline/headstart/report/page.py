"""The HTML page, from results and the files beside them.

Everything is inline: style, scripts, data and thumbnails. The content security policy allows these
scripts by hash and no network. The environment of `_environment` escapes every text from outside
(class names, paths, parameters) on its way into a template, and `thumbnails_sheet.script_json`
makes the scripts' data safe.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from headstart.core.choices import MAPS
from headstart.core.records import SPLITS, FeatureSet
from headstart.report import figures, formatting, sections, tables, thumbnails_sheet

MATRIX_CLASSES = 40  # with more, a matrix is unreadable: the page lists the most confused pairs
PAIRS_SHOWN = 30
CONFUSIONS_IN_WORDS = 6
SUSPECTS_SHOWN = 60
GROUPS_SHOWN = 40
DUPLICATES_SHOWN = 4  # shown of one group
FAILURES_SHOWN = 100
_MAPS = {"tsne": "PCA, then t-SNE", "umap": "PCA, then UMAP", "pca": "the first two axes of PCA"}


@dataclass(frozen=True)
class Companions:
    """The files beside the results, None or empty if missing, and the best head's features."""

    answers: list[tables.Answer] | None = None
    suspects: list[tables.Suspect] = field(default_factory=list)
    duplicates: list[list[tables.Duplicate]] = field(default_factory=list)
    history: Mapping[str, Any] = field(default_factory=dict)
    data: FeatureSet | None = None
    map_method: str = MAPS[0]


def write(results: Mapping[str, Any], companions: Companions) -> str:
    """Return the page for checked results."""
    page = context(results, companions)
    shown = [section for section in sections.SECTIONS if section.shown(page)]
    folders = tuple(dict.fromkeys(section.folder for section in sections.SECTIONS))
    template = _environment(folders).get_template("page.html.j2")
    return template.render(page, sections=shown, **_scripts(results, page))


def context(results: Mapping[str, Any], companions: Companions) -> dict[str, Any]:
    """Return the variables of the sections' templates."""
    heads = results["heads"]
    axis = figures.axis([x for h in heads for x in (h["test_accuracy"], *h["test_accuracy_ci"])])
    several = len(results["backbones"]) > 1
    views = [_head_view(head, axis, several) for head in heads]
    rivals = [view for view in views if view["verdict"] != "best"]
    return {
        **{key: results[key] for key in ("dataset", "protocol", "warnings", "insights")},
        **{key: results[key] for key in ("backbones", "provenance")},
        "axis": axis,
        "heads": views,
        "baselines": [_head_view(baseline, axis) for baseline in results["baselines"]],
        "best": next(view for view in views if view["name"] == results["best"]),
        "ties": [head["title"] for head in rivals if head["verdict"] == "tie"],
        "ahead_of_all": bool(rivals) and all(head["verdict"] == "worse" for head in rivals),
        "frequent_class": _frequent_class(results),
        "curve": _curve(results),
        "images": _images(results["dataset"]),
        "backbone": results["extraction"]["document"]["backbone"],
        "digest": results["extraction"]["digest"],
        "score_names": list(dict.fromkeys(k for b in results["backbones"] for k in b["scores"])),
        **_by_class(results),
        **_by_image(results, companions),
    }


def _head_view(
    head: Mapping[str, Any], axis: figures.Axis, several: bool = False
) -> dict[str, Any]:
    """Return a head with what its rows show; among ``several`` backbones its title names one."""
    title = head["title"] + (f" on {head['backbone']}" if several else "")
    accuracy, (low, high) = head["test_accuracy"], head["test_accuracy_ci"]
    visible = high > axis.low and low < axis.high
    columns = list(dict.fromkeys(key for candidate in head["grid"] for key in candidate["params"]))
    grid = [
        {
            "values": [formatting.value(candidate["params"].get(key, "–")) for key in columns],
            "cv_accuracy": candidate["cv_accuracy"],
            "cv_std": candidate["cv_std"],
            "chosen": candidate["params"].items() <= head["params"].items(),
        }
        for candidate in head["grid"]
    ]
    return {
        **head,
        "title": title,
        "label": formatting.label(title),
        "settings": [f"{key} = {formatting.value(value)}" for key, value in head["params"].items()],
        "dot": axis.position(accuracy) if axis.low <= accuracy <= axis.high else "",
        "whisker": (axis.position(low), axis.position(high)) if visible else None,
        "beyond": "below" if accuracy < axis.low else "above",
        "columns": columns,
        "grid": grid,
    }


def _frequent_class(results: Mapping[str, Any]) -> str:
    """Return the class that the most-frequent baseline always predicts."""
    constant = [b["confusion"] for b in results["baselines"] if b["name"] == "most-frequent"]
    answers = figures.cells(constant[0]).answers if constant else Counter({0: 0})
    return str(results["dataset"]["classes"][answers.most_common(1)[0][0]])


def _curve(results: Mapping[str, Any]) -> dict[str, Any] | None:
    curve = results["insights"]["learning_curve"]
    return {**curve, "title": figures.title(results, curve["head"])} if curve else None


def _images(dataset: Mapping[str, Any]) -> dict[str, Any]:
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


def _by_class(results: Mapping[str, Any]) -> dict[str, Any]:
    classes = results["dataset"]["classes"]
    best = next(head for head in results["heads"] if head["name"] == results["best"])
    cells = figures.cells(best["confusion"])
    confusions = figures.confusions(classes, cells)
    scores = figures.class_scores(classes, cells)
    return {
        "n_wrong": sum(pair.times for pair in confusions),
        "matrix": figures.matrix(classes, cells) if len(classes) <= MATRIX_CLASSES else None,
        "matrix_limit": MATRIX_CLASSES,
        "pairs": confusions[:PAIRS_SHOWN],
        "confusions": confusions[:CONFUSIONS_IN_WORDS],
        "n_pairs": len(confusions),
        "scores": scores,
        "hardest": figures.hardest(scores),
    }


def _by_image(results: Mapping[str, Any], companions: Companions) -> dict[str, Any]:
    answers = companions.answers or []
    mistakes = tables.mistakes(answers)
    suspects = companions.suspects[:SUSPECTS_SHOWN]
    groups = companions.duplicates[:GROUPS_SHOWN]
    duplicates = [
        {
            "images": group[:DUPLICATES_SHOWN],
            "more": max(0, len(group) - DUPLICATES_SHOWN),
            "leak": tables.leaks(group),
            "contradicts": tables.contradict(group),
        }
        for group in groups
    ]
    listed = [
        *(mistake.path for mistake in mistakes),
        *(suspect.path for suspect in suspects),
        *(image.path for group in groups for image in group[:DUPLICATES_SHOWN]),
    ]
    data = companions.data
    return {
        "mistakes": None if companions.answers is None else mistakes,
        "suspects": suspects,
        "n_suspects": len(companions.suspects),
        **_label_tiers(results["insights"]["label_errors"]),
        "duplicates": duplicates,
        "n_groups": len(companions.duplicates),
        "n_leaks": sum(map(tables.leaks, companions.duplicates)),
        "failed": [] if data is None else data.failures[:FAILURES_SHOWN],
        "album": thumbnails_sheet.make(
            data, answers, listed, results["dataset"]["classes"], companions.map_method
        ),
        "map_method": _MAPS[companions.map_method],
        "history": companions.history,
    }


def _label_tiers(errors: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tiers of doubtful labels, and the classes confused; older results have neither."""
    tiers = errors.get("tiers") or []
    return {
        "label_tiers": [{**tier, "expected": sections.expected_errors(tier)} for tier in tiers],
        "confused": errors.get("confused") or [],
    }


def _scripts(results: Mapping[str, Any], page: Mapping[str, Any]) -> dict[str, Any]:
    """Return the page's scripts, the hashes that its policy names them by, and their data."""
    plotly, script = _plotly(), _asset("report.js")
    hashes = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
        for text in (plotly, script)
    )
    document = {
        "classes": [formatting.printable(name) for name in results["dataset"]["classes"]],
        "images": page["album"].document,
        "reliability": page["best"]["reliability"],
        "curve": results["insights"]["learning_curve"],
        "history": page["history"],
    }
    return {
        "style": _asset("report.css"),
        "plotly": plotly,
        "script": script,
        "hashes": Markup(" ".join(f"'sha256-{text}'" for text in hashes)),
        "document": thumbnails_sheet.script_json(document),
    }


@functools.cache
def _asset(name: str) -> Markup:
    """Return a packaged file, which needs no escaping."""
    return Markup((Path(__file__).parent / "assets" / name).read_text(encoding="utf-8"))


@functools.cache
def _plotly() -> Markup:
    """Return plotly.js from its Python package (MIT; its notice is its first lines)."""
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs().replace("</script", "<\\/script"))


@functools.cache
def _environment(folders: tuple[Path, ...]) -> jinja2.Environment:
    """Return the templates' environment, which makes all output printable and escapes it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([Path(__file__).parent, *folders]),
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
    return environment
