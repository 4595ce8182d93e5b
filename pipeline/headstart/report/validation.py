"""Reads and checks ``results.json``, including files of other programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from headstart.core.errors import InputError, one_line
from headstart.core.results import Comparison
from headstart.report.schema import schema
from headstart.report.upgrade import upgrade

_AGAIN = "run headstart train-heads again"


def check(document: object, origin: str) -> dict[str, Any]:
    """Return the document of a comparison in the present schema.

    Raises:
        InputError: it is not the document of a comparison.
    """
    results: Any = upgrade(document)
    defect = next(_defects(results), None)
    if defect:
        raise InputError(f"{origin} cannot be reported: {one_line(defect)}; {_AGAIN}")
    checked: dict[str, Any] = results
    return checked


def read_results(path: Path) -> dict[str, Any]:
    """Read and check ``results.json``, and upgrade it from an earlier schema."""
    return check(_read(path), one_line(path))


def read_origin(path: Path) -> tuple[list[Path], str]:
    """Return the stores that ``results.json`` names, and what its heads were scored on.

    The rest of the document is not checked, which would take a tenth of a second.

    Raises:
        InputError: the file is missing, damaged or of another program.
    """
    results: Any = upgrade(_read(path))
    try:
        stores = [Path(store) for store in results["provenance"].get("stores", ())]
        return stores, str(results["protocol"]["scored_on"])
    except (AttributeError, KeyError, TypeError):
        raise InputError(f"{one_line(path)} is not the result of a comparison; {_AGAIN}") from None


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"there is no {one_line(path)}; run headstart train-heads with"
            f" --out {one_line(path.parent)} first"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {one_line(path)}: {one_line(error)}; {_AGAIN}") from error


def _defects(results: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON document
    """Yield the reasons why this is not the document of a comparison."""
    if isinstance(results, Mapping) and results.get("schema") != Comparison.SCHEMA:
        yield f"its schema is {results.get('schema')!r}, not {Comparison.SCHEMA}"
    mismatch = _mismatch(results)
    if mismatch:
        yield mismatch
    if results["best"] not in [head["name"] for head in results["heads"]]:
        yield "the best head is not among the heads"
    k = len(results["dataset"]["classes"])
    for head in [*results["heads"], *results["baselines"]]:
        if not _is_square(head["confusion"], k):
            yield f"the confusion matrix of {head['name']} is not {k} by {k}"
        if len({len(column) for column in head["reliability"].values()}) != 1:
            yield f"the bins of the reliability of {head['name']} differ in number"


@cache
def _validator() -> Callable[[object], object]:
    import fastjsonschema

    validator: Callable[[object], object] = fastjsonschema.compile(schema())
    return validator


def _mismatch(results: object) -> str:
    """Describe where a document does not match the schema; empty if it does."""
    from fastjsonschema import JsonSchemaValueException

    try:
        _validator()(results)
    except JsonSchemaValueException as error:
        where = error.name.removeprefix("data").removeprefix(".") or "the document"
        if error.rule == "required" and isinstance(error.value, Mapping):
            missing = next(key for key in error.rule_definition if key not in error.value)
            return f"{missing} is missing" + ("" if error.name == "data" else f" in {where}")
        return f"{where} is not valid ({error.rule})"
    return ""


def _is_square(confusion: Any, k: int) -> bool:  # noqa: ANN401 - either form of a confusion matrix
    if isinstance(confusion, Mapping):
        codes = (code for cell in confusion["cells"] for code in cell[:2])
        return set(confusion["shape"]) == {k} and all(code < k for code in codes)
    return {len(confusion), *map(len, confusion)} == {k}
