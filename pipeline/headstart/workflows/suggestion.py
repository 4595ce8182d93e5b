"""Which unlabelled images to label next, as a table, a page, or tasks of an annotation tool."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.core import choices, remarks
from headstart.core.errors import InputError, StoreError, one_line
from headstart.workflows.artifacts import COMMAND, MODEL, RESULTS
from headstart.workflows.locations import StrPath, local, output_file
from headstart.workflows.models import load_model

if TYPE_CHECKING:
    from headstart.core.records import FeatureSet
    from headstart.core.results import LearningCurve
    from headstart.core.suggestions import Suggestions
    from headstart.evaluation.suggest import Guesser
    from headstart.models.head import Head

FEW = 1000  # images, of which the results' own learning curve is noisy


def suggest(
    source: StrPath | FeatureSet,
    pool: StrPath | FeatureSet | None = None,
    *,
    n: int = 100,
    strategy: str = choices.STRATEGIES[0],
    out: StrPath | None = None,
    format: str = choices.LABEL_FORMATS[0],
    all_images: bool = False,
    report: StrPath | None = None,
    layer: str = "",
    near_duplicates: bool = True,
    ignore: str | Sequence[str] = (),
    target: str = "",
    seed: int = 0,
) -> Suggestions:
    """Choose the unlabelled images to label next.

    Args:
        source: a feature store, a folder of results, or a model file.
        pool: a store of unlabelled images by the same backbone; None takes those of ``source``,
            which for results are the store that they were trained on.
        n: how many images.
        strategy: one of `core.choices.STRATEGIES`. ``auto`` is ``uncertainty`` if there is a model
            or two classes with two labels each, else ``diverse``.
        out: a file to write. A CSV table is read by `extract_features` once labels are filled in,
            and its column ``origin`` keeps the images out of the test split.
        format: one of `core.choices.LABEL_FORMATS`: a CSV table, or what Label Studio, CVAT or
            FiftyOne import, with the guesses.
        all_images: whether the table also lists the other images, with their labels, so that the
            store can be continued from it.
        report: an HTML page with the pictures to write.
        layer: the layer of a store with several.
        near_duplicates: whether copies that differ in their bytes count as copies.
        ignore: codes of remarks to leave out, such as ``HS804``.
        target: one of `core.choices.TARGETS` for images without labels in any of the stores; empty
            for that of the store.
        seed: of random draws.

    Returns:
        The images, a forecast of what their labels bring, and remarks.

    Raises:
        UsageError: the strategy is unknown, or ``n`` is not positive.
        InputError: there is nothing to choose from, or features and model do not belong together.
        StoreError: a store is missing or damaged.
        OutputError: a file cannot be written.
    """
    from headstart import __version__
    from headstart.evaluation import suggest as selecting
    from headstart.evaluation.suggest import table

    ignored = remarks.parse(ignore)
    inputs = [each for each in (source, pool) if isinstance(each, str | os.PathLike)]
    file = None if out is None else output_file(out, *inputs)
    page = None if report is None else output_file(report, *inputs)
    parts, guesser = _opened(source, pool, layer)
    pooled = table.Pooled.of(parts, target)
    selection = selecting.select(pooled.data, n, strategy, guesser, near_duplicates, seed)
    facts = {
        "headstart": __version__,
        "command": COMMAND.get(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    about = [*selection.suggestions.remarks]
    if file is not None:
        about += table.write(file, pooled, selection, format, all_images)
    result = dataclasses.replace(
        selection.suggestions, remarks=remarks.without(about, ignored), provenance=facts
    )
    if page is not None:
        from headstart.report import suggest_page

        suggest_page.write_page(result, page, [pooled.picture(row) for row in selection.rows])
    return result


def _opened(
    source: StrPath | FeatureSet, pool: StrPath | FeatureSet | None, layer: str
) -> tuple[list[FeatureSet], Guesser | None]:
    """Return the stores to choose from, that of the labelled images first, and a trained model."""
    if not isinstance(source, str | os.PathLike):
        first = [source]
    elif not (Path(source) / RESULTS).exists() and Path(source).suffix.lower() != ".onnx":
        first = _layers(source, layer)
    else:
        return _with_model(Path(source), pool)
    data = _single(first)
    if pool is None:
        return [data], None
    others = _layers(pool, layer)
    other = next((each for each in others if each.digest == data.digest), None)
    if other is None:
        raise InputError(
            f"{one_line(data.name)} and {one_line(others[0].name)} hold features of different"
            " backbones or preprocessing; embed both with the same"
        )
    return [data, other], None


def _with_model(
    source: Path, pool: StrPath | FeatureSet | None
) -> tuple[list[FeatureSet], Guesser | None]:
    """Return the stores that a model reads, and the model with its learning curve."""
    from headstart.evaluation.suggest import Guesser
    from headstart.models.head import Head
    from headstart.report.validation import read_results

    folder = source if source.is_dir() else source.parent
    file = source / MODEL if source.is_dir() else source
    head = Head(load_model(file))
    results: dict[str, Any] = {}
    if (folder / RESULTS).is_file():
        results = read_results(folder / RESULTS)
    trained, reason = _trained_on(head, results)
    if pool is not None:
        chosen = next((each for each in _layers(pool) if head.reads(each)), None)
        if chosen is None:
            head.check(_layers(pool)[0])
            raise AssertionError
        trained = [each for each in trained if each.name != chosen.name or len(each) != len(chosen)]
        parts = [*trained, chosen]
    elif trained:
        parts = trained
    else:
        raise InputError(
            f"the images to choose from are unknown: {reason}; name a store of unlabelled images"
            " after the model"
        )
    images = int(results.get("protocol", {}).get("n_train", 0))
    few = images < FEW and trained  # then the curve is measured again, with more draws
    curve = None if few else _curve(results)
    guesser = Guesser(
        one_line(file), head.classes, head.probabilities, curve, images, head.thresholds
    )
    return parts, guesser


def _trained_on(head: Head, results: dict[str, Any]) -> tuple[list[FeatureSet], str]:
    """Return the store that a model was trained on, in a list, or why there is none."""
    reasons = []
    for path in results.get("provenance", {}).get("stores", ()):
        try:
            for data in _layers(path):
                if head.reads(data):
                    return [data], ""
        except StoreError as error:
            reasons.append(str(error))
    return [], "; ".join(reasons) or "no results beside the model name its feature store"


def _curve(results: dict[str, Any]) -> LearningCurve | None:
    from headstart.core.results import CurvePoint, LearningCurve

    curve = results.get("insights", {}).get("learning_curve")
    if not curve:
        return None
    points = [CurvePoint(**point) for point in curve["points"]]
    return LearningCurve(curve["head"], curve["backbone"], points, None, None)


def _layers(source: StrPath | FeatureSet, layer: str = "") -> list[FeatureSet]:
    from headstart.features import store

    if not isinstance(source, str | os.PathLike):
        return [source]
    return store.read_layers(local(source), [layer] if layer else [], float("inf"))


def _single(layers: Sequence[FeatureSet]) -> FeatureSet:
    if len(layers) > 1:
        names = ", ".join(str(each.extraction["backbone"]["layer"]) for each in layers)
        raise InputError(f"the store has several layers; choose one with --layer: {names}")
    return layers[0]
