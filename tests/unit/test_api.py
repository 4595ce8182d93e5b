"""The library: names, the store as an object, the transformer, the table, saved heads."""

import ast
import csv
import inspect
from pathlib import Path

import headstart as hs
import numpy as np
import pytest
from headstart import FeatureStore, export_features
from headstart.core.errors import HeadstartError, InputError
from headstart.features.embed import EmbedConfig, embed
from headstart.heads import HEADS, saving
from headstart.heads.folds import stratified_folds
from headstart.heads.training_set import TrainingSet


@pytest.fixture(scope="module")
def photos(tmp_path_factory, write_image):
    folder = tmp_path_factory.mktemp("api") / "photos"
    for label in ("bark", "cloth"):
        for number in range(8):
            write_image(folder / label / f"{number}.png", hash(label) % 97 + number)
    return folder


@pytest.fixture(scope="module")
def store_file(photos, tiny_backbone):
    out = photos.parent / "s.h5"
    hs.extract_features(photos, out, backbone=tiny_backbone, hooks=hs.Hooks())
    return out


@pytest.fixture(scope="module")
def store(store_file):
    return FeatureStore(store_file)


def paths(store):
    return [str(Path(store.source) / path) for path in store.paths]


@pytest.mark.slow
def test_every_name_is_a_function_or_a_class_with_a_signature():
    assert sorted(hs._API) == hs.__all__
    assert set(hs.__all__) <= set(dir(hs))
    for name in hs.__all__:
        value = getattr(hs, name)
        assert inspect.isfunction(value) or inspect.isclass(value), name
        assert value.__doc__
        if inspect.isfunction(value):
            kinds = {parameter.kind for parameter in inspect.signature(value).parameters.values()}
            assert kinds <= {
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                inspect.Parameter.KEYWORD_ONLY,
            }
    with pytest.raises(AttributeError):
        _ = hs.nothing


def test_type_checkers_see_the_names():
    tree = ast.parse(Path(hs.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.name: node.module.removeprefix("headstart.")
        for node in block.body
        for alias in node.names
    }
    assert imported == hs._API


def test_importing_loads_nothing(fresh_python):
    heavy = {"torch", "numpy", "sklearn", "onnxruntime", "h5py", "click", "PIL", "rich"}
    script = "import json, sys, headstart; dir(headstart); print(json.dumps(sorted(sys.modules)))"
    assert not heavy & set(fresh_python(script))
    script = "import json, sys, headstart.workflows, headstart.workflows.heads as heads\n"
    script += "heads.train_heads; print(json.dumps(sorted(sys.modules)))"
    assert not heavy & set(fresh_python(script))


def test_the_function_is_not_hidden_by_the_room_of_its_name(fresh_python):
    script = """
        import headstart.finetune.config, headstart as hs, inspect, json
        print(json.dumps(inspect.isfunction(hs.finetune)))
    """
    assert fresh_python(script) is True


def test_a_store_as_an_object(store):
    assert len(store) == len(store.paths) == len(store.features) == 16
    assert set(store.labels) == set(store.classes) == {"bark", "cloth"}
    assert store.splits == [""] * 16
    assert "16 images" in repr(store)


def test_paths_may_be_texts_or_objects(photos, store_file, tiny_backbone):
    config = EmbedConfig(str(tiny_backbone))
    assert not embed(Path(photos), str(store_file), config).changed
    assert FeatureStore(str(store_file)).paths == FeatureStore(store_file).paths


def test_a_large_store_stays_on_disk(store, store_file):
    streamed = FeatureStore(store_file, stream_above=0)
    assert not isinstance(streamed.features, np.ndarray)
    np.testing.assert_array_equal(streamed.features[:], store.features)
    assert streamed.labels == store.labels


@pytest.mark.parametrize("to", ["parquet", "npy", "csv"])
def test_a_table_holds_the_store(store, store_file, to, tmp_path):
    out = tmp_path / f"t.{to}"
    written = export_features(store_file, out, to=to)
    assert written[0] == out
    if to == "parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(out).to_pydict()
        embeddings = np.array(table["embedding"], np.float32)
        labels, paths = table["label"], table["path"]
        xy = np.array([table["x"], table["y"]]).T
    else:
        with written[-1].open(newline="") as file:
            rows = list(csv.DictReader(file))
        labels, paths = [r["label"] for r in rows], [r["path"] for r in rows]
        xy = np.array([[float(r["x"]), float(r["y"])] for r in rows])
        dim = range(store.features.shape[1])
        embeddings = (
            np.load(out)
            if to == "npy"
            else np.array([[r[f"f{i}"] for i in dim] for r in rows], np.float32)
        )
    np.testing.assert_array_equal(embeddings, store.features)
    assert (paths, labels) == (store.paths, store.labels)
    unit = store.features / np.linalg.norm(store.features, axis=1, keepdims=True)
    _, _, axes = np.linalg.svd(unit - unit.mean(axis=0), full_matrices=False)
    expected = (unit - unit.mean(axis=0)) @ axes[:2].T
    np.testing.assert_allclose(np.abs(xy), np.abs(expected), atol=2e-3)


def test_a_table_does_not_replace_its_store(store_file, tmp_path):
    before = store_file.read_bytes()
    with pytest.raises(InputError, match="is the store itself"):
        export_features(store_file, store_file, to="csv")
    with pytest.raises(InputError, match="no format xml"):
        export_features(store_file, to="xml")
    with pytest.raises(HeadstartError, match="no feature store"):
        export_features(tmp_path / "absent.h5", to="csv")
    assert store_file.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
def test_a_head_saved_as_skops_predicts_the_same(name, tmp_path):
    from skops.io import get_untrusted_types, load

    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = (np.eye(8)[labels] + rng.normal(0, 0.3, (60, 8))).astype(np.float32)
    data = TrainingSet(features, labels, stratified_folds(labels, 3, seed=0))
    estimator = HEADS[name].search(data).estimator
    path = saving.save(estimator, tmp_path, "skops")
    unknown = get_untrusted_types(file=path)
    ours = {
        "headstart.heads.calibrated.CalibratedClassifier",
        "headstart.heads.knn.GaussianWeights",
    }
    assert all(kind.startswith("sklearn.") for kind in set(unknown) - ours), unknown
    again = load(path, trusted=unknown)
    np.testing.assert_array_equal(again.predict_proba(features), estimator.predict_proba(features))
