"""Reads and checks ``results.json``, including files of other programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from headstart.core import targets
from headstart.core.choices import TARGETS
from headstart.core.errors import InputError, one_line
from headstart.core.targets import SINGLE_LABEL
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


def part_of(target: str) -> Any:  # noqa: ANN401 - a module
    """Return what this room has for a target type: its schema, figures and page."""
    return targets.by_name(target).part("report")


def _defects(results: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON document
    """Yield the reasons why this is not the document of a comparison."""
    target = results.get("target", SINGLE_LABEL) if isinstance(results, Mapping) else SINGLE_LABEL
    if target not in TARGETS:
        yield f"it is about {target!r}, which this Headstart does not know"
        return
    part = part_of(target)
    if isinstance(results, Mapping) and results.get("schema") != part.SCHEMA:
        yield f"its schema is {results.get('schema')!r}, not {part.SCHEMA}"
    mismatch = _mismatch(results, target)
    if mismatch:
        yield mismatch
    if results["best"] not in [head["name"] for head in results["heads"]]:
        yield "the best head is not among the heads"
    yield from part.defects(results)


@cache
def _validator(target: str) -> Callable[[object], object]:
    import fastjsonschema

    validator: Callable[[object], object] = fastjsonschema.compile(part_of(target).schema())
    return validator


def _mismatch(results: object, target: str) -> str:
    """Describe where a document does not match the schema; empty if it does."""
    from fastjsonschema import JsonSchemaValueException

    try:
        _validator(target)(results)
    except JsonSchemaValueException as error:
        where = error.name.removeprefix("data").removeprefix(".") or "the document"
        if error.rule == "required" and isinstance(error.value, Mapping):
            missing = next(key for key in error.rule_definition if key not in error.value)
            return f"{missing} is missing" + ("" if error.name == "data" else f" in {where}")
        return f"{where} is not valid ({error.rule})"
    return ""
