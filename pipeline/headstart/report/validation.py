"""Reading and checking ``results.json``; other people's files included."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from headstart.core.errors import InputError, one_line
from headstart.core.records import Comparison
from headstart.report.upgrade import upgrade

_BINS = ("images", "confidence", "accuracy")


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_figure(value: object) -> bool:
    """Whether this is a number that may be unknown: a baseline need not have every score."""
    return value is None or isinstance(value, float) or _is_count(value)


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def _are_counts(value: object) -> bool:
    items = value.values() if isinstance(value, Mapping) else value
    return isinstance(items, Iterable) and all(map(_is_count, items))


def _is_confusion(value: object) -> bool:
    """Whether these are counts, as a matrix or, with many classes, as its cells."""
    if not isinstance(value, Mapping):
        return isinstance(value, list | tuple) and all(map(_are_counts, value))
    cells, shape = value.get("cells"), value.get("shape")
    return (
        isinstance(cells, list | tuple)
        and all(_are_counts(cell) and len(cell) == 3 for cell in cells)
        and isinstance(shape, list | tuple)
        and _are_counts(shape)
        and all(cell[0] < shape[0] and cell[1] < shape[-1] for cell in cells if shape)
    )


def _shape_of(confusion: Any) -> set[int]:  # noqa: ANN401 - either form of a confusion matrix
    """Return the lengths of the sides; a square has one."""
    if isinstance(confusion, Mapping):
        return set(confusion["shape"])
    return {len(confusion), *map(len, confusion)}


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_size(value: object) -> bool:
    """Check a side of a square, or height and width."""
    if isinstance(value, list | tuple):
        return len(value) == 2 and all(map(_is_count, value))
    return _is_count(value)


def _is_object(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_interval(value: object) -> bool:
    """Whether these are the two ends of an interval, or none is known."""
    return value is None or (
        isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_figure, value))
    )


def _are_intervals(value: object) -> bool:
    return isinstance(value, Mapping) and all(map(_is_interval, value.values()))


def _are_figures(value: object) -> bool:
    return isinstance(value, Mapping) and all(map(_is_figure, value.values()))


def _is_reliability(value: object) -> bool:
    """Whether these are the bins of a reliability diagram."""
    columns = [value.get(key) for key in _BINS] if isinstance(value, Mapping) else [None]
    return (
        all(isinstance(column, list | tuple) and column for column in columns)
        and len({len(column) for column in columns if column}) == 1
        and _are_counts(columns[0])
        and all(_is_figure(item) for column in columns[1:] for item in column or ())
    )


def _is_signed(value: object) -> bool:
    return value is None or isinstance(value, int | float)


def _is_curve(value: object) -> bool:
    """Whether this is a learning curve that can be drawn, or none was made."""
    if value is None:
        return True
    points = value.get("points") if isinstance(value, Mapping) else None
    return (
        isinstance(value, Mapping)
        and _is_text(value.get("head"))
        and isinstance(points, list | tuple)
        and all(
            isinstance(point, Mapping)
            and _is_count_or_mean(point.get("images"))
            and _is_share(point.get("accuracy"))
            and point.get("accuracy_ci") is not None
            and _is_interval(point["accuracy_ci"])
            for point in points
        )
        and all(_is_fitted(value.get(key), wanted) for key, wanted in _FITTED.items())
    )


_FITTED = {"fit": ("ceiling", "scale", "exponent"), "doubling": ("images", "gain")}


def _is_fitted(value: object, wanted: tuple[str, ...]) -> bool:
    return value is None or (
        isinstance(value, Mapping)
        and all(isinstance(value.get(key), int | float) for key in wanted)
        and _is_interval(value.get("gain_ci"))
    )


def _is_count_or_mean(value: object) -> bool:
    return isinstance(value, int | float) and value > 0


_Shape = Callable[[object], bool] | dict[str, Any] | list[Any]

_TRIED: dict[str, _Shape] = {
    "params": _is_object,
    "cv_accuracy": _is_figure,
    "cv_std": _is_figure,
}
_HEAD: dict[str, _Shape] = {
    **dict.fromkeys(("name", "title", "verdict", "backbone", "approximation"), _is_text),
    **dict.fromkeys(("macro_f1", "log_loss", "seconds"), _is_figure),
    **dict.fromkeys(("balanced_accuracy", "roc_auc", "ece", "mcnemar_p"), _is_figure),
    **dict.fromkeys(("predict_seconds", "test_accuracy_without_leakage"), _is_figure),
    **dict.fromkeys(("difference_ci", "test_accuracy_without_leakage_ci"), _is_interval),
    "difference": _is_signed,
    "intervals": _are_intervals,
    **_TRIED,
    "test_accuracy": _is_share,
    "test_accuracy_ci": [_is_share],
    "confusion": _is_confusion,
    "reliability": _is_reliability,
    "grid": [_TRIED],
}
_BACKBONE: dict[str, _Shape] = {
    **dict.fromkeys(("name", "source", "weights_sha256", "licence"), _is_text),
    **dict.fromkeys(("layer", "pool", "precision"), _is_text),
    "dim": _is_count,
    "mean": [_is_figure],
    "std": [_is_figure],
    "preprocess": {"resize": _is_size, "crop": _is_size, "interpolation": _is_text},
}
_RESULTS: dict[str, _Shape] = {
    "dataset": {
        **dict.fromkeys(("name", "test_split"), _is_text),
        **dict.fromkeys(("n_images", "failures"), _is_count),
        "classes": [_is_text],
        "images": _is_object,
        "failure_reasons": _are_counts,
    },
    "extraction": {"digest": _is_text, "document": {"backbone": _BACKBONE}},
    "protocol": {
        **dict.fromkeys(("folds", "repeats", "seed", "n_train", "n_test"), _is_count),
        **dict.fromkeys(("tuned_on", "scoring", "interval", "test_split"), _is_text),
        "validation": _is_text,
    },
    "heads": [_HEAD],
    "baselines": [_HEAD],
    **dict.fromkeys(("best", "best_backbone"), _is_text),
    "insights": _is_object,
    "backbones": [{"backbone": _is_text, "scores": _are_figures}],
    "warnings": [_is_text],
    "provenance": _is_object,
}


def _misfits(value: object, shape: _Shape, where: str) -> Iterator[str]:
    """Yield, in a few words each, where a JSON value has not the shape it should have."""
    if isinstance(shape, dict):
        if not isinstance(value, Mapping):
            yield f"{where} is no object"
            return
        for key, part in shape.items():
            at = f"{where}.{key}".lstrip(".")
            yield from _misfits(value[key], part, at) if key in value else [f"{at} is missing"]
    elif isinstance(shape, list):
        if not isinstance(value, list | tuple):
            yield f"{where} is no list"
            return
        for i, item in enumerate(value):
            yield from _misfits(item, shape[0], f"{where}[{i}]")
    elif not shape(value):
        yield f"{where} is not usable"


def _defects(results: object) -> Iterator[str]:
    """Yield why this is not the document of a comparison, in a few words each."""
    if not isinstance(results, Mapping):
        yield "it is no object"
        return
    if results.get("schema") != Comparison.SCHEMA:
        yield f"its schema is {results.get('schema')!r}, not {Comparison.SCHEMA}"
    yield from _misfits(results, _RESULTS, "")
    k = len(results["dataset"]["classes"])
    if k == 0:
        yield "there are no classes"
    if not all(map(_are_counts, results["dataset"]["images"].values())):
        yield "dataset.images is not usable"
    if results["best"] not in [head["name"] for head in results["heads"]]:
        yield "the best head is not among the heads"
    if not _is_curve(results["insights"].get("learning_curve")):
        yield "insights.learning_curve is not usable"
    for head in [*results["heads"], *results["baselines"]]:
        if _shape_of(head["confusion"]) != {k}:
            yield f"the confusion matrix of {head['name']} is not {k} by {k}"
        if len(head["test_accuracy_ci"]) != 2:
            yield f"the interval of {head['name']} has not two ends"


def check(document: object, origin: str) -> dict[str, Any]:
    """Return the document of a comparison as the present schema has it.

    Raises:
        InputError: it is not the document of a comparison.
    """
    results: Any = upgrade(document)
    defect = next(_defects(results), None)
    if defect:
        raise InputError(
            f"{origin} cannot be reported: {one_line(defect)}; run headstart train-heads again"
        )
    return cast(dict[str, Any], results)


def read_results(path: Path) -> dict[str, Any]:
    """Read and check ``results.json``."""
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"there is no {one_line(path)}; run headstart train-heads with"
            f" --out {one_line(path.parent)} first"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"cannot read {one_line(path)}: {one_line(error)}; run headstart train-heads again"
        ) from error
    return check(document, one_line(path))
