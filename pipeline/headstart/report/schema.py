"""The JSON Schema of ``results.json``: a file, completed by the records in `core.results`."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from importlib.resources import files
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from headstart.core import targets
from headstart.core.drift import Drift
from headstart.core.results import Insights, Remark
from headstart.core.targets import SINGLE_LABEL

_TYPES: dict[Any, dict[str, Any]] = {
    Any: {},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    float: {"$ref": "#/definitions/figure"},
    str: {"type": "string"},
    NoneType: {"type": "null"},
}


@cache
def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 7) of the present ``results.json``."""
    document = _file()
    insights = of_record(Insights)
    insights["additionalProperties"] = True  # later versions may have more
    document["properties"] |= {"insights": insights, "warnings": _of(list[Remark])}
    return document


def evaluation_schema(target: str = SINGLE_LABEL) -> dict[str, Any]:
    """Return the JSON Schema (draft 7) of the document of ``headstart evaluate --json``."""
    record = targets.by_name(target).part("assessment record").RECORD
    file, document = _file(), of_record(record)
    document["properties"]["schema"] = {"const": record.SCHEMA}
    document["required"].append("schema")
    if record.TARGET != SINGLE_LABEL:
        document["properties"]["target"] = {"const": record.TARGET}
        document["required"].append("target")
    title = f"headstart evaluate --json, schema {record.SCHEMA}"
    return {
        "$schema": file["$schema"],
        "title": title,
        "definitions": file["definitions"],
        **document,
    }


def drift_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 7) of the document of ``headstart drift --json``."""
    file, document = _file(), of_record(Drift)
    document["properties"] |= {"schema": {"const": Drift.SCHEMA}, "verdict": {"type": "string"}}
    document["required"] += ["schema", "verdict"]
    return {
        "$schema": file["$schema"],
        "title": f"headstart drift --json, schema {Drift.SCHEMA}",
        "definitions": file["definitions"],
        **document,
    }


def _file() -> dict[str, Any]:
    text = files("headstart.report").joinpath("results.schema.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def of_record(record: type) -> dict[str, Any]:
    """Return the JSON Schema of a dataclass whose fields are records, lists, texts or numbers.

    ``Annotated[float, "share"]`` refers to that definition in ``results.schema.json``.
    """
    properties = {
        name: _of(hint) for name, hint in get_type_hints(record, include_extras=True).items()
    }
    return {
        "description": (record.__doc__ or "").partition("\n")[0],
        "type": "object",
        "required": [
            field.name
            for field in dataclasses.fields(record)
            if field.default is field.default_factory is dataclasses.MISSING
        ],
        "additionalProperties": False,
        "properties": properties,
    }


def _of(hint: Any) -> dict[str, Any]:  # noqa: ANN401 - any type hint of a record
    origin, parts = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        return of_record(hint)  # type: ignore[arg-type]
    if origin is Annotated:
        return {"$ref": f"#/definitions/{parts[1]}"}
    if origin in (Union, UnionType):
        return {"anyOf": [_of(part) for part in parts]}
    if origin is dict:
        return {"type": "object", "additionalProperties": _of(parts[1])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _of(parts[1])}
    if origin is list:
        return {"type": "array", "items": _of(parts[0])}
    if origin is tuple:
        return {
            "type": "array",
            "items": [_of(part) for part in parts],
            "minItems": len(parts),
        }
    return _TYPES[hint]
