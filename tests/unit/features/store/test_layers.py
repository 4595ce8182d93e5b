"""Several layers in one store: a dataset each, and one row of them in everything else."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from headstart.core.errors import StoreError
from headstart.core.records import Extraction, Part, digest_of
from headstart.features.store import read, read_layers, repair, verify
from headstart.features.store.layout import dataset_name

PARTS = (Part("a/b", "avg", 3), Part("..", "max", 1))
NAMES = ["features/a%2Fb", "features/%2E%2E"]


pytestmark = pytest.mark.usefixtures("no_sandbox")


@pytest.fixture
def of_layers(build):
    """Give what `Builder.run` changes for a network with both layers as outputs."""
    both = build.extraction().backbone.with_layers(PARTS)
    return {name: getattr(both, name) for name in ("layer", "pool", "dim", "parts")}


@pytest.fixture
def store(tmp_path, build, of_layers):
    path = tmp_path / "s.h5"
    build.run(path, build.listing(), **of_layers)
    return path


def expected(build, rows=range(6)):
    return np.stack([build.record(at).values["features"] for at in rows])


def features(path):
    return np.hstack([one.features for one in read_layers(path)])


@pytest.mark.slow
def test_every_layer_is_a_dataset_and_a_feature_set_of_its_own(store, build):
    assert verify(store) == []
    with h5py.File(store) as file:
        assert sorted(file["features"]) == sorted(name.partition("/")[2] for name in NAMES)
        assert [file[name].shape for name in NAMES] == [(6, 3), (6, 1)]
    first, second = read_layers(store)
    assert np.array_equal(np.hstack([first.features, second.features]), expected(build))
    assert first.pixels is second.pixels  # what they share is in memory once
    for one, part in zip((first, second), PARTS, strict=True):
        # The identity is that of a store of this layer alone.
        alone = build.extraction(layer=part.layer, pool=part.pool, dim=part.dim)
        assert one.digest == alone.digest == digest_of(one.extraction)
        assert one.extraction == json.loads(json.dumps(alone.to_json()))
        assert np.array_equal(read(store, part.layer).features, one.features)


def test_a_store_of_one_layer_is_as_ever(tmp_path, build):
    build.run(tmp_path / "one.h5", build.listing())
    with h5py.File(tmp_path / "one.h5") as file:
        assert isinstance(file["features"], h5py.Dataset)
        assert "parts" not in file.attrs["extraction"]
    (only,) = read_layers(tmp_path / "one.h5", ["head"])
    assert np.array_equal(only.features, read(tmp_path / "one.h5").features)


def test_a_layer_that_is_not_there(store):
    with pytest.raises(StoreError, match=r"holds no layer 'a/c'; did you mean a/b; it holds: a/b,"):
        read(store, "a/c")
    with pytest.raises(StoreError, match=r"holds several layers; choose one of: a/b, \.\.$"):
        read(store)


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on(tmp_path, build, of_layers):
    path = tmp_path / "s.h5"
    assert build.run(path, build.listing(), stop_after=4, **of_layers).embedded == 4
    assert build.run(path, build.listing(), **of_layers).embedded == 2
    assert np.array_equal(features(path), expected(build))
    assert build.run(path, build.listing(9), **of_layers).embedded == 3
    assert np.array_equal(features(path), expected(build, range(9)))


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            (Part("a/b", "avg", 4),),
            r"layer: a/b, \.\. there, a/b now; backbone.pool: avg, max there, avg now",
        ),
        (
            (Part("a/b", "avg", 3), Part("c", "max", 1)),
            r"layer: a/b, \.\. there, a/b, c now\); choose another",
        ),
        ((Part("a/b", "avg", 3), Part("..", "avg", 1)), r"pool: avg, max there, avg now"),
    ],
)
def test_other_layers_are_refused(store, build, parts, said):
    before = store.read_bytes()
    other = build.extraction().backbone.with_layers(parts)
    changes = {name: getattr(other, name) for name in ("layer", "pool", "parts")}
    with pytest.raises(StoreError, match=said):
        build.run(store, build.listing(), **changes)
    assert store.read_bytes() == before


def flip(store, name, rows):
    with h5py.File(store) as file:
        start, width = file[name].id.get_offset(), file[name].nbytes // len(file[name])
    data = bytearray(store.read_bytes())
    for row in rows:
        data[start + row * width] ^= 0x40
    store.write_bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_damage_in_one_layer_costs_its_rows(store, build, of_layers, name):
    flip(store, name, [1, 4])
    assert any("(rows 1, 4)" in defect for defect in verify(store))
    done = repair(store)
    assert (done.kept, list(done.dropped.values())) == (4, [2])
    assert verify(store) == []
    assert np.array_equal(features(store), expected(build, [0, 2, 3, 5]))
    assert build.run(store, build.listing(), **of_layers).embedded == 2
    assert np.array_equal(features(store), expected(build))


def without(name):
    return lambda file: file.__delitem__(name)


def in_place_of_features(file):
    del file["features"]
    file["features"] = np.zeros((6, 4), "f4")


def narrower(file):
    rows = file[NAMES[0]][:, :2]
    del file[NAMES[0]]
    file[NAMES[0]] = rows


def shorter(file):
    rows = file[NAMES[1]][:5]
    del file[NAMES[1]]
    file[NAMES[1]] = rows


def linked(file):
    file.move("features", "elsewhere")
    file["features"] = h5py.SoftLink("/elsewhere")


def sums_differ(file):
    document = json.loads(file.attrs["extraction"])
    document["backbone"]["dim"] = 9
    file.attrs["extraction"], file.attrs["digest"] = json.dumps(document), digest_of(document)


DEFECTS = {
    "a layer is missing": (without(NAMES[0]), f"dataset {NAMES[0]} is missing"),
    "all are missing": (without("features"), "group features is missing"),
    "one dataset": (
        in_place_of_features,
        "features is not a group, but the backbone gives several",
    ),
    "another width": (narrower, f"{NAMES[0]} has shape (6, 2), but the backbone gives 3 a row"),
    "another length": (shorter, "the datasets differ in length"),
    "a link": (linked, "features is a link to elsewhere"),
    "sums": (sums_differ, "features is not a dataset"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_what_is_no_store_of_several_layers(store, name):
    change, said = DEFECTS[name]
    with h5py.File(store, "r+") as file:
        change(file)
    assert any(said in defect for defect in verify(store))
    with pytest.raises(StoreError, match="cannot be used"):
        read_layers(store)
    if name != "another length":  # there the rows that all columns have are kept
        with pytest.raises(StoreError, match="cannot be repaired"):
            repair(store)


def test_half_precision_can_be_read(store, build):
    with h5py.File(store, "r+") as file:
        for name in NAMES:
            rows = file[name][:].astype("f2")
            del file[name]
            file[name] = rows
        del file["checks"]
        file.attrs["checksums"] = "{}"
    assert np.allclose(features(store), expected(build), atol=2e-3)


@pytest.mark.parametrize("layer", ["layer3", "/a/Relu", "a%2Fb", ".", "..", "...", "é b", "a\nb"])
def test_names_of_datasets_are_safe_and_different(tmp_path, layer):
    others = ["layer4", "%2Fa%2FRelu", "a/b", "%2E", "x"]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for number, name in enumerate([layer, *others]):
            file[f"features/{dataset_name(name)}"] = number
        assert len(file["features"]) == 6


def test_order_is_that_of_the_network_and_part_of_the_identity(build):
    one = Extraction(build.extraction().backbone.with_layers(PARTS))
    other = Extraction(build.extraction().backbone.with_layers(PARTS[::-1]))
    assert one.digest != other.digest
