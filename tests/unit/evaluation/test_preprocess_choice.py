"""Choosing the preprocessing of a foreign file: networks that see something in one range alone."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from graphs import Maker
from headstart import datasets
from headstart.cli import cli
from headstart.core.errors import BackboneError, InputError
from headstart.core.records import Choice, ImageRef, Listing
from headstart.datasets.images import save_png
from headstart.evaluation import left_out, preprocess_choice
from headstart.evaluation.left_out import LeftOut, is_near
from headstart.evaluation.preprocess_choice import CLASSES, STAGES, choose
from onnx import TensorProto
from sklearn.linear_model import Ridge

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_cache_home", "no_sandbox")]

LEVELS = {"dark": 186, "middle": 192, "light": 198}


def write_images(root: Path, channels: tuple[int, ...], count: int = 12) -> Path:
    """Write three classes whose channels differ a little, around a grey of 150."""
    for code, (name, level) in enumerate(LEVELS.items()):
        for number in range(count):
            rng = np.random.default_rng(100 * code + number)
            pixels = np.full((32, 32, 3), 150)
            pixels[..., list(channels)] = level
            path = root / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_png(path, (pixels + rng.integers(-2, 3, pixels.shape)).astype(np.uint8))
    return root


@pytest.fixture(scope="module")
def greys(tmp_path_factory) -> Path:
    return write_images(tmp_path_factory.mktemp("greys") / "photos", (0, 1, 2))


def head(maker: Maker) -> Maker:
    maker.conv(3, 8, 1).add("GlobalAveragePool").add("Flatten")
    return maker.gemm(8, 1000).add("Softmax", axis=1)


def clipped(low: float = 0.7, high: float = 0.8) -> Maker:
    """See differences between ``low`` and ``high`` alone."""
    maker = Maker(["n", 3, 32, 32]).add("Clip", np.float32(low), np.float32(high))
    return head(maker.add("Sub", np.float32(low)).add("Div", np.float32(high - low)))


def write(maker: Maker, folder: Path) -> Choice:
    path = folder / "network.onnx"
    onnx.save(maker.model(), path)
    return Choice(f"onnx:{path}")


def chosen(data: Path, network: Choice) -> tuple[str, str]:
    """Return the preset that is chosen, and the notice."""
    lines: list[str] = []
    choice = choose(datasets.open_source(str(data)), network, 1, lines.append)
    assert len(lines) == 2  # before and after, because it takes a while
    assert re.search(r"on at most (36|120) labelled images", lines[0])
    return choice.preprocess, lines[-1]


class TestChoice:
    @pytest.mark.parametrize(
        ("low", "high", "preset"),
        [(0.7, 0.8, "unit"), (0.44, 0.58, "inception"), (185, 200, "raw"), (1.4, 2.0, "imagenet")],
    )
    def test_the_range_in_which_a_network_sees_something(self, greys, tmp_path, low, high, preset):
        choice, line = chosen(greys, write(clipped(low, high), tmp_path))
        assert choice == preset
        assert f"--preprocess {preset} is taken; by squared error in cross-validation on " in line
        assert f" on {STAGES[0]} images of 3 classes; accuracy: " in line
        assert "33.3%" in line  # where it sees nothing, all have the first of equal classes
        assert f"{preset} 100.0%" in line
        # Where the range is clear, only that one is tried with its channels turned.
        assert line.count(":BGR") == 1

    def test_the_order_of_channels(self, tmp_path):
        blues = write_images(tmp_path / "blues", (2,))
        maker = Maker(["n", 3, 32, 32]).add("Clip", np.float32(0.7), np.float32(0.8))
        only_first = np.array([1, 0, 0], np.float32).reshape(1, 3, 1, 1)
        choice, line = chosen(blues, write(head(maker.add("Mul", only_first)), tmp_path))
        assert choice == "unit:BGR"
        assert "unit:BGR 100.0%" in line

    def test_as_good_as_each_other_is_a_stated_order(self, greys, tmp_path):
        choice, line = chosen(greys, write(head(Maker(["n", 3, 32, 32])), tmp_path))
        assert choice == "imagenet"
        for preset in ("imagenet", "unit", "inception:BGR"):
            assert f"{preset} 100.0%" in line

    def test_what_is_clearly_worse_gets_the_first_images_alone(self, tmp_path):
        many = write_images(tmp_path / "many", (0, 1, 2), 40)
        _, line = chosen(many, write(clipped(0, 1), tmp_path))
        assert "on 120 images of 3 classes" in line  # unit and inception are as good
        assert re.search(r"; on (24|36) of them: [^;]*raw \d", line)

    def test_several_labels(self, tmp_path):
        rng, rows = np.random.default_rng(0), ["path,labels"]
        for number in range(60):
            present = rng.random(3) < 0.5
            pixels = np.broadcast_to(np.where(present, 196, 186), (32, 32, 3))
            save_png(
                tmp_path / f"{number}.png",
                (pixels + rng.integers(-2, 3, (32, 32, 3))).astype(np.uint8),
            )
            names = [
                name for name, there in zip(("red", "green", "blue"), present, strict=True) if there
            ]
            rows.append(f"{number}.png,{'|'.join(names)}")
        (tmp_path / "labels.csv").write_text("\n".join(rows))
        lines: list[str] = []
        listing = datasets.open_source(str(tmp_path / "labels.csv"))
        assert listing.target == "multi-label"
        choice = choose(listing, write(clipped(), tmp_path), 1, lines.append)
        assert choice.preprocess == "unit"
        assert "images of 3 labels; mean average precision: " in lines[-1]
        assert "unit 100.0%" in lines[-1]

    def test_whole_numbers_are_raw(self, greys, tmp_path):
        maker = Maker(["n", 3, 32, 32], kind=TensorProto.UINT8).add("Cast", to=TensorProto.FLOAT)
        maker.kind = TensorProto.FLOAT
        head(maker)
        maker.kind = TensorProto.UINT8
        model = maker.model()
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
        onnx.save(model, tmp_path / "bytes.onnx")
        assert chosen(greys, Choice(f"onnx:{tmp_path / 'bytes.onnx'}"))[0] == "raw"


class TestRefusals:
    def test_a_file_that_fails_with_all_says_why(self, greys, tmp_path):
        (tmp_path / "broken.onnx").write_bytes(b"not a graph")
        with pytest.raises(BackboneError, match="ONNX"):
            chosen(greys, Choice(f"onnx:{tmp_path / 'broken.onnx'}"))

    def test_several_networks(self, greys, tmp_path):
        name = write(clipped(), tmp_path).name
        with pytest.raises(BackboneError, match="one network"):
            chosen(greys, Choice(f"{name}+{name}"))

    @pytest.mark.parametrize("labels", [("one",), (None,)], ids=["one class", "no labels"])
    def test_too_few_classes(self, labels):
        refs = [ImageRef(f"{n}.png", label, "train") for label in labels for n in range(9)]
        with pytest.raises(InputError, match="name one of: --preprocess imagenet"):
            choose(Listing(Path(), refs, (), {}, "photos"), Choice("onnx:x.onnx"))


class TestSample:
    def test_at_most_120_none_of_the_test_split(self):
        counts = {f"class{n}": 5 for n in range(60)} | {"large": 5000, "tested": 900}
        refs = [
            ImageRef(f"{label}/{n}.png", label, "test" if label == "tested" else "train")
            for label, count in counts.items()
            for n in range(count)
        ]
        drawn = preprocess_choice._sample(Listing(Path(), refs, tuple(counts), {}, "photos"))
        assert len(drawn) == STAGES[-1]
        classes = Counter(ref.label for ref in drawn)
        assert len(classes) == CLASSES
        assert "tested" not in classes
        first = Counter(ref.label for ref in drawn[: STAGES[0]])  # in proportion
        assert first["large"] == pytest.approx(classes["large"] / 5, abs=2)


class TestLeftOut:
    def test_the_answers_are_those_of_fits_without_the_image(self):
        rng = np.random.default_rng(0)
        features = rng.normal(size=(20, 6)).astype(np.float32)
        marks = np.eye(3, dtype=np.int8)[np.arange(20) % 3]
        answers = LeftOut.of(features, marks)
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        distances = 2 - 2 * unit @ unit.T
        spectrum, axes = np.linalg.eigh(np.exp(-distances / distances.mean()))
        mapped = axes * np.sqrt(np.maximum(spectrum, 0))  # whose products are the kernel
        scale = np.cov(mapped.T, bias=True).trace()
        errors = []
        for penalty in left_out.PENALTIES:
            values = []
            for row in range(20):
                rest = np.delete(np.arange(20), row)
                model = Ridge(alpha=penalty * scale).fit(mapped[rest], marks[rest])
                values.append(model.predict(mapped[row : row + 1])[0])
            errors.append(((np.array(values) - marks) ** 2).sum(axis=1).mean())
        assert answers.errors.mean() == pytest.approx(min(errors), rel=1e-3)

    def test_equal_features_tell_nothing(self):
        marks = np.eye(2, dtype=np.int8)[np.array([0, 1, 1, 1, 0])]
        answers = LeftOut.of(np.ones((5, 4), np.float32), marks)
        assert np.allclose(answers.values, [0.4, 0.6])

    def test_unknown_labels_count_for_nothing(self):
        rng = np.random.default_rng(0)
        features = rng.normal(size=(12, 4)).astype(np.float32)
        marks = rng.integers(0, 2, (12, 2)).astype(np.int8)
        marks[3] = -1
        assert LeftOut.of(features, marks).errors[3] == 0

    def test_near_is_by_paired_differences_or_by_nothing(self):
        best = np.linspace(0, 1, 50)
        assert is_near(best + 0.009, best, 1)  # always a little, which matters to nobody
        assert not is_near(best + 0.02, best, 1)
        assert is_near(best + np.where(np.arange(50) % 2, 0.4, -0.3), best, 1)


class TestCommand:
    @pytest.fixture
    def run(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)

        def call(*words, code=0):
            result = CliRunner().invoke(cli, [str(word) for word in words])
            assert result.exit_code == code, result.output
            return result

        return call

    def test_the_store_is_that_of_the_named_preset(self, run, greys, tmp_path):
        name = write(clipped(), tmp_path).name
        words = ["features", greys, "--backbone", name, "--preprocess"]
        first = run(*words, "auto", "--out", "auto.h5")
        assert "--preprocess unit is taken" in first.stderr
        run(*words, "unit", "--out", "named.h5")
        rows = []
        for store in ("auto.h5", "named.h5"):
            with h5py.File(tmp_path / store) as file:
                rows.append((file.attrs["extraction"], file["features"][:]))
        assert rows[0][0] == rows[1][0]
        assert np.array_equal(rows[0][1], rows[1][1])
        again = run(*words, "auto", "--out", "auto.h5")
        assert "the store goes on with its own preprocessing" in again.stderr
        assert "up to date" in again.stdout

    def test_the_ranking_takes_it_too(self, run, greys, tmp_path):
        name = write(clipped(), tmp_path).name
        words = ["backbones", "--for", greys, "--only-named", "--backbone", name]
        result = run(*words, "--preprocess", "auto", "--json")
        assert "--preprocess unit is taken" in result.stderr
        assert json.loads(result.stdout)["tried"][0]["accuracy"] == 1

    def test_commands_without_labelled_images(self, run, tmp_path):
        name = write(clipped(), tmp_path).name
        for words in (["export", name, "--out", "b.onnx"], ["backbones", name]):
            error = run(*words, "--preprocess", "auto", code=1).exception
            assert "labelled images" in str(error)
