"""The record of a comparison, and its JSON."""

from __future__ import annotations

import dataclasses
import json

from factories import comparison, insights, learning_curve
from headstart.core.results import Comparison


def test_a_comparison_becomes_json():
    record = comparison(insights=insights(learning_curve([10, 20])))
    document = json.loads(json.dumps(record.to_json()))
    assert document["schema"] == Comparison.SCHEMA
    assert set(document) == {"schema"} | {f.name for f in dataclasses.fields(Comparison)}
    assert document["heads"][0]["test_accuracy_ci"] == list(record.heads[0].test_accuracy_ci)
    assert document["insights"]["learning_curve"]["points"][1]["images"] == 20
