"""The frozen network as a scikit-learn transformer."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from factories import write_image
from headstart.backbones.export import model_file
from headstart.backbones.inference.runner import Runner
from headstart.core.errors import BackboneError, InputError
from headstart.datasets.images import decode, read_file
from headstart.features.image_embedder import ImageEmbedder
from odd_images import deep_png, picture
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Path]:
    root = tmp_path_factory.mktemp("photos")
    return [write_image(root / f"{number:02}.png", number) for number in range(40)]


@pytest.fixture(scope="module")
def expected(photos, tiny_backbone) -> np.ndarray:
    """Give the features of single images."""
    runner = Runner(tiny_backbone)
    crops = [decode(read_file(path)[0], runner.backbone.preprocess) for path in photos]
    return np.concatenate([runner.embed(crop[np.newaxis]) for crop in crops])


@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_features_are_those_of_the_command_bit_for_bit(photos, expected, tiny_backbone, batch_size):
    embedder = ImageEmbedder(str(tiny_backbone), workers=2, batch_size=batch_size)
    again = pickle.loads(pickle.dumps(clone(embedder)))
    np.testing.assert_array_equal(again.fit_transform(photos), expected)
    np.testing.assert_array_equal(embedder.transform([str(path) for path in photos]), expected)
    assert again.get_params()["backbone"] == str(tiny_backbone)
    assert again.transform([]).shape == (0, expected.shape[1])


def test_features_are_named_as_scikit_learn_names_them(photos, tiny_backbone):
    embedder = ImageEmbedder(tiny_backbone).fit(photos)
    names = embedder.get_feature_names_out()
    assert names.tolist() == [f"imageembedder{number}" for number in range(12)]
    pandas = pytest.importorskip("pandas")
    table = embedder.set_output(transform="pandas").transform(photos[:3])
    assert isinstance(table, pandas.DataFrame)
    assert table.columns.tolist() == names.tolist()


@pytest.mark.parametrize("bad", ["a.png", [1, 2], [["a", "b"]], 3])
def test_it_takes_paths_only(bad, tiny_backbone):
    with pytest.raises(InputError, match="list of image paths"):
        ImageEmbedder(str(tiny_backbone)).fit(bad)


class TestABadImage:
    @pytest.fixture
    def paths(self, photos, tmp_path) -> list[Path]:
        (tmp_path / "b.png").write_bytes(b"x")
        return [photos[0], tmp_path / "b.png", photos[1], tmp_path / "missing.png"]

    def test_it_is_named(self, paths, tiny_backbone):
        with pytest.raises(InputError, match=r"b.png: .*leave it out, or set on_error='nan'"):
            ImageEmbedder(str(tiny_backbone)).transform(paths)

    def test_or_gets_a_row_of_nan(self, paths, expected, tiny_backbone):
        rows = ImageEmbedder(str(tiny_backbone), on_error="nan").fit_transform(paths)
        np.testing.assert_array_equal(rows[[0, 2]], expected[:2])
        assert np.isnan(rows[[1, 3]]).all()

    def test_another_word_is_refused(self, photos, tiny_backbone):
        with pytest.raises(InputError, match="no on_error 'skip'; use one of: raise, nan"):
            ImageEmbedder(str(tiny_backbone), on_error="skip").fit(photos)


class TestPrecision:
    @pytest.mark.slow
    def test_int8_is_calibrated_on_the_images_of_fit(
        self, photos, expected, tiny_backbone, fresh_cache_home
    ):
        embedder = ImageEmbedder(str(tiny_backbone), precision="int8").fit(photos)
        assert embedder.precision_.startswith("int8+")
        rows = embedder.transform(photos)
        assert not np.array_equal(rows, expected)
        np.testing.assert_allclose(rows, expected, atol=0.1)
        again = pickle.loads(pickle.dumps(embedder))
        np.testing.assert_array_equal(again.transform(photos), rows)

    @pytest.mark.slow
    def test_auto_is_one_of_them(self, photos, expected, tiny_backbone, fresh_cache_home):
        labels = np.array(["a", "b"])[np.arange(len(photos)) % 2]
        embedder = ImageEmbedder(str(tiny_backbone), precision="auto").fit(photos, labels)
        assert embedder.precision_.partition("+")[0] in ("fp32", "fp16", "int8")
        np.testing.assert_allclose(embedder.transform(photos), expected, atol=0.1)

    @pytest.mark.parametrize("precision", ["int8", "auto"])
    def test_without_images_the_message_says_what_to_do(self, precision, photos, tiny_backbone):
        embedder = ImageEmbedder(str(tiny_backbone), precision=precision)
        with pytest.raises(NotFittedError, match=r"call fit\(\) with a sample"):
            embedder.transform(photos)
        with pytest.raises(InputError, match=r"give fit\(\) a sample"):
            embedder.fit([])
        with pytest.raises(BackboneError, match=r"measured on images.* use fp32 or fp16"):
            model_file(str(tiny_backbone), precision)

    def test_half_precision_needs_no_images(self, photos, expected, tiny_backbone):
        embedder = ImageEmbedder(str(tiny_backbone), precision="fp16")
        np.testing.assert_allclose(embedder.transform(photos), expected, atol=0.01)

    def test_an_unknown_one_is_refused(self, photos, tiny_backbone):
        with pytest.raises(BackboneError, match="no precision 'fp8'; use one of: fp32"):
            ImageEmbedder(str(tiny_backbone), precision="fp8").fit(photos)


@pytest.mark.slow
def test_layer_pooling_and_weights_are_those_of_a_choice(photos):
    embedder = ImageEmbedder(
        "torchvision:squeezenet1_1", layer="features.3", pool="max", weights="random:3"
    )
    assert embedder.fit_transform(photos[:2]).shape == (2, 128)


@pytest.mark.slow
def test_in_a_grid_search_every_set_is_embedded_once(photos, tiny_backbone, tmp_path):
    labels = ["bark", "cloth"] * 20
    steps = [("embed", ImageEmbedder(str(tiny_backbone))), ("head", LogisticRegression())]
    search = GridSearchCV(Pipeline(steps, memory=str(tmp_path)), {"head__C": [0.1, 1, 10]}, cv=2)
    search.fit(photos, labels)
    # Two folds and all: three fits, however many candidates.
    assert len(list(tmp_path.rglob("output.pkl"))) == 3
    assert set(search.predict(photos)) <= {"bark", "cloth"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_check_estimator_as_far_as_paths_let_it():
    from sklearn.utils.estimator_checks import check_estimator

    checks = check_estimator(ImageEmbedder(), on_fail=None, on_skip=None)
    assert checks
    assert {check["status"] for check in checks} == {"passed"}


class TestRange:
    @pytest.fixture
    def deep(self, tmp_path):
        paths = [tmp_path / f"{number}.png" for number in range(3)]
        for number, path in enumerate(paths):
            samples = picture(40, 40, number).astype(np.uint16) << 4
            path.write_bytes(deep_png(samples))
        return [str(path) for path in paths]

    def test_a_range_changes_the_features(self, tiny_backbone, deep):
        plain = ImageEmbedder(tiny_backbone).transform(deep)
        ranged = ImageEmbedder(tiny_backbone, value_range="0:4080").transform(deep)
        assert np.abs(plain - ranged).max() > 1e-3
        with pytest.raises(InputError, match="LOW:HIGH"):
            ImageEmbedder(tiny_backbone, value_range="high").transform(deep)

    def test_a_range_to_be_measured_needs_fit(self, tiny_backbone, deep):
        embedder = ImageEmbedder(tiny_backbone, value_range="percentile")
        with pytest.raises(NotFittedError, match="percentile"):
            embedder.transform(deep)
        features = embedder.fit(deep).transform(deep)
        low, high = map(int, embedder.value_range_.split(":"))
        assert low < 1000 < high
        same = ImageEmbedder(tiny_backbone, value_range=embedder.value_range_)
        assert (same.transform(deep) == features).all()
