"""Several networks side by side: how they are named, what each sees, and what comes out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from factories import backbone, write_image, write_tiny_backbone
from headstart import backbones
from headstart.backbones import export, joint, joint_graph
from headstart.backbones.inference import precision
from headstart.backbones.inference.description import METADATA, describe
from headstart.backbones.inference.runner import Runner, open_session
from headstart.backbones.joint_graph import Window
from headstart.core.errors import BackboneError
from headstart.core.records import Backbone, Choice, Extraction, Part, Preprocess
from headstart.datasets import images
from headstart.datasets.images import fixed_point
from headstart.finetune import FinetuneConfig, check_trainable

WIDE = Preprocess(resize=36, crop=32)
SMALL = Preprocess(resize=28, crop=24, interpolation="bilinear")


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path]:
    """Two networks of other weights, sizes and licences."""
    return (
        write_tiny_backbone(tmp_path / "wide.onnx", 1, name="wide", preprocess=WIDE),
        write_tiny_backbone(
            tmp_path / "small.onnx", 2, name="small", preprocess=SMALL, licence="MIT"
        ),
    )


@pytest.fixture
def both(files) -> Path:
    """The file of both."""
    return export.model_file("+".join(map(str, files)))[0]


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def noise(count: int, size: tuple[int, int]):
    return np.random.default_rng(0).integers(0, 256, (count, *size, 3), np.uint8)


def resized(pictures):
    """Return what the small network sees: 24 of 28 pixels are 30.86 of 36."""
    low = (32 - 24 * 36 / 28) / 2
    box = (low, low, 32 - low, 32 - low)
    crops = (fixed_point.resize_pixels(each, box, (24, 24), "bilinear") for each in pictures)
    return np.stack(list(crops))


class TestNames:
    @pytest.mark.parametrize(
        ("name", "parts"),
        [
            ("efficientnet-lite0+efficientnet-lite1", 2),
            ("efficientnet-lite0+timm:resnet18+keras:VGG16", 3),
            ("timm:no-such+torchvision:neither", 2),  # which their providers say
            ("onnx:{x}+efficientnet-lite0", 2),
            ("onnx:{x}#node+efficientnet-lite0", 2),
            ("efficientnet-lite0+{x}", 2),
            ("efficientnet-lite0+{plus}+{x}", 3),
            ("onnx:{plus}+{plus}", 2),
            ("missing.onnx+{x}", 2),
            ("efficientnet-lite0", 0),
            ("{x}", 0),
            ("{plus}", 0),
            ("onnx:{plus}", 0),
            ("onnx:{x}#a+b", 0),  # a node's name
            ("efficientnet-lite0+random", 0),
            ("efficientnet-lite0+", 0),
            ("+", 0),
            ("", 0),
        ],
    )
    def test_a_plus_stands_between_networks_and_files(self, name, parts, tmp_path):
        plain, plus = tmp_path / "x.onnx", tmp_path / "a+b+efficientnet-lite0.onnx"
        for path in (plain, plus):
            path.touch()
        text = name.format(x=plain, plus=plus)
        names = joint.split(text, backbones._is_spelt)
        assert len(names) == parts
        assert not names or "+".join(names) == text
        assert backbones.is_joint(Choice(text)) == bool(parts)

    def test_no_network_has_a_plus_in_its_name(self):
        assert not [entry.name for entry in backbones.available() if "+" in entry.name]


class TestPicture:
    @pytest.mark.parametrize(
        ("every", "resize", "crop", "windows"),
        [  # left or top side of each window, and its length
            ([(36, 32), (36, 32)], 36, 32, [(0, 32), (0, 32)]),
            ([(36, 32), (36, 24)], 36, 32, [(0, 32), (4, 24)]),
            ([(272, 240), (256, 224)], 272, 240, [(0, 240), (1, 238)]),
            ([(292, 260), (256, 224)], 292, 260, [(0, 260), (2.25, 255.5)]),
            ([(272, 240), (236, 224)], 272, 260, [(10, 240), (0.915254, 258.169492)]),
            ([(100, 99), (50, 50)], 100, 100, [(0, 99), (0, 100)]),
        ],
    )
    def test_it_holds_what_every_network_sees(self, every, resize, crop, windows):
        own = [Preprocess(resize=r, crop=c) for r, c in every]
        picture = joint.shared([backbone(preprocess=each) for each in own])
        assert (picture.resize, picture.crop) == (resize, crop)
        for each, (low, length) in zip(own, windows, strict=True):
            box, size = joint._window(each, picture)
            assert size == each.size
            assert box == pytest.approx((low, low, low + length, low + length))
            assert box[2] <= crop

    def test_networks_that_squash_share_a_squashed_picture(self):
        own = [Preprocess(resize=(20, 40), crop=(20, 40)), Preprocess(resize=(30, 30), crop=30)]
        picture = joint.shared([backbone(preprocess=each) for each in own])
        assert (picture.resize, picture.size) == ((30, 40), (30, 40))
        assert [joint._window(each, picture).box for each in own] == [(0, 0, 40, 30)] * 2

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            (Preprocess(resize=(36, 36), crop=32), "squashes whole images"),
            (Preprocess(resize=36, crop=32, value_range="0:4095"), "--range"),
            (Preprocess(resize=36, crop=32, colour="srgb"), "--colour"),
        ],
    )
    def test_networks_for_other_pictures_are_refused(self, other, message):
        with pytest.raises(BackboneError, match=message):
            joint.shared([backbone(), backbone(preprocess=other)])

    @pytest.mark.parametrize(
        ("size", "window", "interpolation"),
        [
            ((40, 40), Window((2.25, 2.25, 37.75, 37.75), (31, 31)), "bicubic"),
            ((40, 40), Window((1, 1, 39, 39), (24, 24)), "bilinear"),
            ((44, 60), Window((0, 0, 60, 44), (31, 59)), "lanczos"),
            ((44, 60), Window((3, 2, 35, 26), (24, 32)), "bicubic"),  # as they are
        ],
    )
    def test_the_graph_resizes_to_the_bits_of_the_decoder(
        self, size, window, interpolation, tmp_path
    ):
        part = joint_graph.Part(tmp_path, window, interpolation)
        onnx.save(joint_graph._windows([part], size), tmp_path / "window.onnx")
        pictures = noise(3, size)
        (crops,) = open_session(tmp_path / "window.onnx").run(None, {"image": pictures})
        for picture, crop in zip(pictures, crops, strict=True):
            expected = fixed_point.resize_pixels(picture, window.box, window.size, interpolation)
            assert np.array_equal(crop, expected)


class TestFeatures:
    def test_they_are_each_networks_own_side_by_side(self, both, files):
        runner = Runner(both)
        pictures = noise(5, (32, 32))
        small, wide = np.split(runner.embed(pictures), 2, axis=1)
        for ours, file, crop in ((wide, files[0], pictures), (small, files[1], resized(pictures))):
            assert np.abs(ours - unit(Runner(file).embed(crop))).max() < 1e-6

    def test_from_an_image_file_too(self, both, files, tmp_path):
        data = write_image(tmp_path / "a.png", 3, (90, 70)).read_bytes()

        def rows(file: Path):
            runner = Runner(file)
            return runner.embed(images.decode(data, runner.backbone.preprocess)[np.newaxis])

        small, wide = np.split(rows(both), 2, axis=1)
        assert np.array_equal(wide, unit(rows(files[0])).astype(np.float32))  # the same pixels
        assert (small * unit(rows(files[1]))).sum() > 0.999  # resized once more

    def test_they_do_not_depend_on_the_batch_or_the_order(self, both, files):
        assert export.model_file("+".join(map(str, files[::-1])))[0] == both
        pictures = noise(4, (32, 32))
        runner = Runner(both, batch=None)
        together = runner.embed(pictures)
        single = [Runner(both, batch=1).embed(each[np.newaxis]) for each in pictures]
        assert np.array_equal(together, np.concatenate(single))

    def test_black_pictures_have_features_of_norm_one_or_none(self, both):
        rows = Runner(both).embed(np.zeros((1, 32, 32, 3), np.uint8))
        assert np.isfinite(rows).all()

    def test_half_precision_is_close(self, both):
        half = Runner(precision.variant(both, "fp16"))
        rows, expected = (runner.embed(noise(4, (32, 32))) for runner in (half, Runner(both)))
        assert (unit(rows) * unit(expected)).sum(1).min() > 0.9999


class TestDescription:
    def test_it_names_both(self, both):
        described = describe(both)
        assert described.name == "small+wide"
        assert described.licence == "MIT AND Apache-2.0"
        assert [network.name for network in described.networks] == ["small", "wide"]
        assert described.dim == 24
        assert described.preprocess == WIDE
        assert Backbone.from_json(described.to_json()) == described
        networks = list(described.networks)
        networks[0] = dataclasses.replace(networks[0], weights_sha256="11" * 32)
        other = dataclasses.replace(described, networks=tuple(networks))
        assert Extraction(other).digest != Extraction(described).digest
        assert "networks" in Extraction(other).difference(Extraction(described).to_json())

    def test_one_network_is_described_as_before(self):
        assert "networks" not in backbone().to_json()

    def test_the_export_says_what_each_network_sees(self, both):
        parity = export.read_parity(both)
        assert parity.original == "each network"
        assert parity.notes[0].startswith("small reads the middle 30.8571")
        assert parity.notes[1] == "wide reads the middle 32 × 32 pixels"

    def test_a_range_of_values_is_of_the_picture(self, files):
        choice = Choice("+".join(map(str, files)), value_range="0:4095")
        assert describe(export.model_file(choice)[0]).preprocess.value_range == "0:4095"

    def test_it_is_found_again_by_its_file_alone(self, both, tmp_path):
        facts = describe(both).to_json()
        assert export.locate(facts, str(both)) == both
        with pytest.raises(BackboneError, match=r"small\+wide that made these features was not"):
            export.locate(facts, "")


def changed(path: Path, **changes) -> Path:
    """Rewrite a file's description."""
    model, described = onnx.load(path), describe(path)
    properties = {each.key: each.value for each in model.metadata_props}
    text = dataclasses.replace(described, **changes).to_json()
    onnx.helper.set_model_props(model, properties | {METADATA: json.dumps(text)})
    onnx.save(model, path)
    return path


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"precision": "fp16"}, "is in fp16; join files in fp32"),
            (
                {"parts": (Part("a", "avg", 6), Part("b", "avg", 6))},
                "several layers apart; export it with one",
            ),
            ({"preprocess": Preprocess(28, 24, "nearest")}, "nearest pixel"),
            ({"networks": (backbone(), backbone(name="other"))}, "several networks already"),
        ],
    )
    def test_files_that_are_no_part(self, files, changes, message):
        changed(files[1], **changes)
        with pytest.raises(BackboneError, match=message):
            export.model_file("+".join(map(str, files)))

    def test_the_same_network_twice(self, files):
        with pytest.raises(BackboneError, match="wide is repeated"):
            export.model_file(f"{files[0]}+{files[0]}")

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ({"layer": "conv"}, "--layer and --pool are of one network"),
            ({"layers": ("a", "b")}, "--layer and --pool are of one network"),
            ({"pool": "max"}, "--layer and --pool are of one network"),
            ({"weights": "own.pth"}, "--weights FILE is of one network"),
            ({"preprocess": "imagenet"}, "--preprocess is for onnx:PATH, none of"),
            ({"quality": "best"}, "exported already"),
        ],
    )
    def test_options_of_one_network(self, files, option, message):
        choice = Choice("+".join(map(str, files)), **option)
        with pytest.raises(BackboneError, match=message):
            export.model_file(choice)

    @pytest.mark.parametrize("mode", ["head", "top", "all"])
    def test_fine_tuning_and_lists_of_layers(self, mode):
        name = "efficientnet-lite0+timm:resnet18"
        with pytest.raises(BackboneError, match="one is fine-tuned at a time"):
            check_trainable(Choice(name, layer="pre-logits"), FinetuneConfig(mode=mode))
        with pytest.raises(BackboneError, match="several networks; name one of them"):
            backbones.layers_of(name)
