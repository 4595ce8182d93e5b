"""The JSON Schema of the results, and the records that it follows."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

import jsonschema
import pytest
from factories import insights, learning_curve, results_document
from headstart.core.results import Comparison, Count, HeadResult, Share
from headstart.report.schema import of_record, schema


def test_the_schema_is_a_schema_and_holds_for_comparisons():
    jsonschema.Draft7Validator.check_schema(schema())
    for found in (insights(), insights(learning_curve([20, 40.5]))):
        document = json.loads(json.dumps(results_document(insights=found)))
        jsonschema.validate(document, schema(), jsonschema.Draft7Validator)


@pytest.mark.parametrize(
    ("record", "part"),
    [(Comparison, schema()), (HeadResult, schema()["definitions"]["head"])],
)
def test_records_and_schema_have_the_same_fields(record, part):
    fields = {field.name for field in dataclasses.fields(record)}
    assert set(part["properties"]) - {"schema"} == fields == set(part["required"]) - {"schema"}


@dataclass(frozen=True)
class Toy:
    """A toy. It has more to say."""

    count: Count
    pairs: list[tuple[str, str]]
    best: Share | None


def test_a_record_becomes_a_schema():
    described = of_record(Toy)
    assert described["required"] == ["count", "pairs", "best"]
    assert described["properties"] == {
        "count": {"$ref": "#/definitions/count"},
        "pairs": {
            "type": "array",
            "items": {"type": "array", "items": [{"type": "string"}] * 2, "minItems": 2},
        },
        "best": {"anyOf": [{"$ref": "#/definitions/share"}, {"type": "null"}]},
    }
