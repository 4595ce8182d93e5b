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
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from headstart.core.choices import MAPS
from headstart.core.group_text import METHOD
from headstart.core.records import SPLITS, FeatureSet
from headstart.core.remark_kinds import KINDS
from headstart.datasets.images.thumbnails import folder
from headstart.report import figures, formatting, points, sections, tables, thumbnails_sheet

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
    folder: Path | None = None
    """Where the page will lie, so that it can link to the images' files."""
    places: NDArray[np.float64] | None = None
    """Of the images on the map, if they are known before; see `thumbnails_sheet.draw_map`."""
    pictures: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    """Thumbnails by path, where there is no store to take them from."""
    maps: Mapping[tuple[str, str], NDArray[np.uint8]] = field(default_factory=dict)
    """Pictures of where the model looks, by path."""


def write(results: Mapping[str, Any], companions: Companions) -> str:
    """Return the page for checked results."""
    page = context(results, companions)
    return render(results, page, "page.html.j2", sections.SECTIONS)


def render(
    results: Mapping[str, Any],
    page: Mapping[str, Any],
    template: str,
    candidates: Sequence[sections.Section],
) -> str:
    """Return a page with a `context`, of those sections that have something to show."""
    shown = [section for section in candidates if section.shown(page)]
    folders = tuple(dict.fromkeys(section.folder for section in candidates))
    text = _environment(folders).get_template(template)
    return text.render(page, sections=shown, **_scripts(results, page))


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
        "scored": figures.scored(results["protocol"]),
        "conclusion": _titled(results["conclusion"], heads),
        "heads": views,
        "baselines": [_head_view(baseline, axis) for baseline in results["baselines"]],
        "best": next(view for view in views if view["name"] == results["best"]),
        "kinds": KINDS,
        "groups": results["insights"].get("group_answers"),
        "methods": METHOD,
        "about_thresholds": sections.about_thresholds,
        "subject": f"The best head, {heads[0]['title']},",
        "rest": "The other heads",
        "ties": [head["title"] for head in rivals if head["verdict"] == "tie"],
        "ahead_of_all": bool(rivals) and all(head["verdict"] == "worse" for head in rivals),
        "frequent_class": _frequent_class(results),
        "curve": _curve(results),
        "images": _images(results["dataset"]),
        "backbone": results["extraction"]["document"]["backbone"],
        "digest": results["extraction"]["digest"],
        "score_names": list(dict.fromkeys(k for b in results["backbones"] for k in b["scores"])),
        **_by_class(results, views),
        **_by_image(results, companions),
    }


def _titled(text: str, heads: Sequence[Mapping[str, Any]]) -> str:
    """Write heads' titles, which the page uses, in place of their names."""
    titles = {head["name"]: head["title"] for head in heads}
    names = "|".join(map(re.escape, titles))
    return re.sub(rf"(?<![\w-])(?:{names})(?![\w-])", lambda name: titles[name[0]], text)


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
        "label": head.get("label") or formatting.label(title),
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


def _by_class(results: Mapping[str, Any], views: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    classes = results["dataset"]["classes"]
    best, *others = views
    scores = figures.class_scores(classes, figures.cells(best["confusion"]), best["per_class"])
    return {
        **_confusions(classes, best),
        "matrix_limit": MATRIX_CLASSES,
        "others": [_confusions(classes, head) for head in others],
        "scores": scores,
        "hardest": figures.hardest(scores),
    }


def _confusions(classes: Sequence[str], head: Mapping[str, Any]) -> dict[str, Any]:
    """Return what one head confuses: in words, and as a matrix or pairs."""
    cells = figures.cells(head["confusion"])
    confusions = figures.confusions(classes, cells)
    return {
        "title": head["title"],
        "label": head["label"],
        "n_wrong": sum(pair.times for pair in confusions),
        "matrix": figures.matrix(classes, cells) if len(classes) <= MATRIX_CLASSES else None,
        "pairs": confusions[:PAIRS_SHOWN],
        "confusions": confusions[:CONFUSIONS_IN_WORDS],
        "n_pairs": len(confusions),
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
        "has_others": any(answer.others for answer in answers),
        "mistakes": None if companions.answers is None else mistakes,
        "maps": {key: thumbnails_sheet.data_uri(pixels) for key, pixels in companions.maps.items()},
        "suspects": suspects,
        "all_suspects": companions.suspects,
        "n_suspects": len(companions.suspects),
        **_label_tiers(results["insights"]["label_errors"]),
        "duplicates": duplicates,
        "n_groups": len(companions.duplicates),
        "n_leaks": sum(map(tables.leaks, companions.duplicates)),
        "failed": [] if data is None else data.failures[:FAILURES_SHOWN],
        "album": thumbnails_sheet.make(
            data,
            answers,
            listed,
            results["dataset"]["classes"],
            companions.map_method,
            companions.places,
            companions.pictures,
        ),
        "map_method": _MAPS[companions.map_method],
        "file_folder": _file_folder(data, companions.folder),
        "history": companions.history,
    }


def _label_tiers(errors: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tiers of doubtful labels, and the classes confused; older results have neither."""
    tiers = errors.get("tiers") or []
    return {
        "label_tiers": [{**tier, "expected": sections.expected_errors(tier)} for tier in tiers],
        "confused": errors.get("confused") or [],
    }


def _file_folder(data: FeatureSet | None, page: Path | None) -> str | None:
    """Return the address of the images' folder from the page, or None if they are elsewhere."""
    source = None if data is None else folder(data)
    if data is None or source is None or page is None or not len(data.path):
        return None
    try:
        if (source / data.path[0]).is_file():
            return quote(Path(os.path.relpath(source, page)).as_posix())
    except (OSError, ValueError):  # a name that the file system refuses, another drive
        pass
    return None


def _scripts(results: Mapping[str, Any], page: Mapping[str, Any]) -> dict[str, Any]:
    """Return the page's scripts, the hashes that its policy names them by, and their data."""
    scripts = [_plotly(), _asset("images.js"), _asset("report.js")]
    hashes = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii") for text in scripts
    )
    return {
        "style": _asset("report.css"),
        "scripts": scripts,
        "hashes": Markup(" ".join(f"'sha256-{text}'" for text in hashes)),
        "document": thumbnails_sheet.script_json(_document(results, page)),
    }


def _document(results: Mapping[str, Any], page: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of the page's scripts."""
    album, curve, classes = page["album"], page["curve"], results["dataset"]["classes"]
    code = {name: number for number, name in enumerate(classes)}
    doubts = {
        album.number[suspect.path]: (code.get(suspect.suggestion, -1), round(suspect.score, 3))
        for suspect in page["all_suspects"]
        if suspect.path in album.number
    }
    return {
        "classes": [formatting.printable(name) for name in classes],
        "heads": [
            {
                "title": formatting.printable(head["title"]),
                "reliability": [
                    point._asdict() for point in points.reliability(head["reliability"])
                ],
            }
            for head in page["heads"]
        ],
        "images": album.document | {"doubts": doubts},
        "folder": page["file_folder"],
        "outOfFold": results["protocol"]["scored_on"] == "out of fold",
        "complete": album.mapped and album.n_shown == album.n_images,
        "exact": {"path": _exact(album.number), "classes": _exact(code)},
        "curve": curve,
        "forecast": [point._asdict() for point in points.forecast(curve)] if curve else [],
        "history": page["history"],
    }


def _exact(numbers: Mapping[str, int]) -> dict[int, str]:
    """Return the names that are not shown as they are, by number; only Unicode can be."""
    return {
        number: name
        for name, number in numbers.items()
        if formatting.printable(name) != name and not any("\ud800" <= c <= "\udfff" for c in name)
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


def environment() -> jinja2.Environment:
    """Return the templates' environment for other pages of this room."""
    return _environment((Path(__file__).parent / "sections",))


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
