from __future__ import annotations

import dataclasses
import json

import pytest
from headstart.core.records import (
    Backbone,
    Extraction,
    Part,
    Preprocess,
    digest_of,
)
from hypothesis import given
from hypothesis import strategies as st

BACKBONE = Backbone(
    name="net",
    source="a package",
    weights_sha256="0" * 64,
    licence="Apache-2.0",
    layer="conv_head",
    pool="avg",
    precision="fp32",
    dim=1280,
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.5, 1.0),
    preprocess=Preprocess(resize=256, crop=224),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CHANGES = [
    ("name", "other"),
    ("source", "elsewhere"),
    ("weights_sha256", "1" * 64),
    ("licence", "MIT"),
    ("layer", "block6"),
    ("pool", "max"),
    ("precision", "fp16"),
    ("dim", 640),
    ("mean", (0.5, 0.5, 0.4)),
    ("std", (0.25, 0.5, 0.9)),
    ("order", "BGR"),
    ("preprocess", Preprocess(resize=255, crop=224)),
    ("preprocess", Preprocess(resize=256, crop=192)),
    ("preprocess", Preprocess(resize=256, crop=224, interpolation="bilinear")),
    ("preprocess", Preprocess(resize=256, crop=224, policy=99)),
    ("preprocess", Preprocess(resize=(256, 256), crop=224)),
    ("preprocess", Preprocess(resize=256, crop=(224, 192))),
    ("parts", (Part("block6", "avg", 640), Part("head", "avg", 640))),
    ("networks", (BACKBONE, dataclasses.replace(BACKBONE, name="other"))),
]


def through_json(document):
    return json.loads(json.dumps(document))


def test_the_list_of_changes_names_every_field():
    assert {name for name, _ in CHANGES} == {f.name for f in dataclasses.fields(Backbone)}


def test_the_digest_is_pinned():
    # A digest that moves makes every store that users have unusable: never without a reason.
    former = dataclasses.replace(BACKBONE.preprocess, policy=3)
    pinned = "63e8205763159d59ad2947bb4017528d772cacd031bb6de6161fc00bd2efd3b1"
    assert Extraction(dataclasses.replace(BACKBONE, preprocess=former)).digest == pinned
    pinned = "f0f8f9026a339c05e4222ab370759f318999d5695ff48e2d90a0605e4b10e86f"
    assert Extraction(BACKBONE).digest == pinned


@pytest.mark.parametrize(("name", "value"), CHANGES)
def test_every_field_is_part_of_the_identity(name, value):
    here = Extraction(dataclasses.replace(BACKBONE, **{name: value}))
    there = Extraction(BACKBONE)
    assert here.digest != there.digest
    said = here.difference(through_json(there.to_json()))
    assert said.startswith(f"backbone.{name}")
    assert " there, " in said
    assert said.endswith(" now")


def test_no_difference_to_itself_through_json():
    here = Extraction(BACKBONE)
    assert here.difference(through_json(here.to_json())) == ""
    assert digest_of(through_json(here.to_json())) == here.digest


def test_the_difference_names_each_key_with_both_values():
    there = through_json(Extraction(BACKBONE).to_json())
    del there["backbone"]["pool"]
    there["backbone"]["dim"] = 9
    there["extra"] = "e"
    assert Extraction(BACKBONE).difference(there) == (
        "backbone.dim: 9 there, 1280 now; backbone.pool: absent there, avg now; "
        "extra: e there, absent now"
    )


def test_a_backbone_survives_json():
    rebuilt = Backbone.from_json(through_json(dataclasses.asdict(BACKBONE)))
    assert rebuilt == BACKBONE
    assert Extraction(rebuilt).digest == Extraction(BACKBONE).digest


def test_sizes_of_two_numbers_survive_json():
    preprocess = Preprocess(resize=(256, 192), crop=(224, 160))
    backbone = dataclasses.replace(BACKBONE, preprocess=preprocess)
    rebuilt = Backbone.from_json(through_json(dataclasses.asdict(backbone)))
    assert rebuilt == backbone
    assert rebuilt.preprocess.size == (224, 160)
    assert BACKBONE.preprocess.size == (224, 224)


@pytest.mark.parametrize(
    ("resize", "crop"), [(224, 225), (0, 0), ((256, 200), 224), (224, (224, 225)), (224, (0, 9))]
)
def test_a_crop_that_does_not_fit_is_refused(resize, crop):
    with pytest.raises(ValueError, match="must lie between 1 and resize"):
        Preprocess(resize, crop)


@pytest.mark.parametrize("where", [(), ("preprocess",)])
def test_a_backbone_with_an_unknown_or_missing_key_is_refused(where):
    for change in ("add", "drop"):
        document = through_json(dataclasses.asdict(BACKBONE))
        part = document["preprocess"] if where else document
        if change == "add":
            part["new"] = 1
        else:
            del part["crop" if where else "layer"]
        with pytest.raises(TypeError):
            Backbone.from_json(document)


def test_records_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        BACKBONE.dim = 1  # type: ignore[misc]


@given(JSON)
def test_equal_documents_have_equal_digests(document):
    assert digest_of(document) == digest_of(through_json(document))
    assert len(digest_of(document)) == 64


@given(st.dictionaries(st.text(), st.integers(), min_size=1))
def test_the_order_of_keys_does_not_count_but_values_do(document):
    assert digest_of(dict(reversed(document.items()))) == digest_of(document)
    key = next(iter(document))
    assert digest_of(document | {key: document[key] + 1}) != digest_of(document)
