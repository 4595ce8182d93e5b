"""A backbone's file for other rules of decoding: the same network, another identity."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from headstart import backbones
from headstart.backbones import export
from headstart.backbones.inference import parity
from headstart.backbones.inference.decoding import with_rules
from headstart.backbones.inference.description import describe
from headstart.backbones.inference.runner import Runner
from headstart.core.errors import BackboneError, UsageError
from headstart.core.preprocess import VIEWS
from headstart.core.records import Choice, Extraction
from headstart.workflows.features import choice


def test_no_rules_are_the_file_itself(tiny_backbone):
    assert with_rules(tiny_backbone, "", "") == tiny_backbone


def test_rules_change_the_description_the_digest_and_the_certificate(tiny_backbone):
    path = with_rules(tiny_backbone, "0:4095", "srgb")
    plain, ruled = describe(tiny_backbone), describe(path)
    assert (ruled.preprocess.value_range, ruled.preprocess.colour) == ("0:4095", "srgb")
    assert Extraction(plain).digest != Extraction(ruled).digest
    pixels = np.random.default_rng(0).integers(
        0, 256, (2, *plain.preprocess.size, 3), dtype=np.uint8
    )
    assert (Runner(path).embed(pixels) == Runner(tiny_backbone).embed(pixels)).all()
    runner = Runner(path)
    drift = parity.check_metadata(runner.metadata, runner.embed, ruled.preprocess)
    assert drift.min_cosine > 0.99999
    before = Runner(tiny_backbone).metadata[parity.METADATA]
    assert runner.metadata[parity.METADATA] != before


def test_an_earlier_policy_is_another_identity_with_its_own_pixels(tiny_backbone):
    latest = describe(tiny_backbone)
    earlier = describe(with_rules(tiny_backbone, "", "", 3))
    assert earlier == dataclasses.replace(
        latest, preprocess=dataclasses.replace(latest.preprocess, policy=3)
    )
    assert with_rules(tiny_backbone, "", "", latest.preprocess.policy) == tiny_backbone
    assert backbones.choice_of(dataclasses.replace(earlier, name="efficientnet-lite0")).policy == 3


def test_a_policy_of_another_headstart_is_refused(tiny_backbone):
    with pytest.raises(BackboneError, match="version 99 of the decoding rules"):
        with_rules(tiny_backbone, "", "", 99)


def test_a_store_finds_its_file_again(tiny_backbone):
    choice = Choice(str(tiny_backbone), value_range="0:4095")
    path, _ = export.model_file(choice)
    assert export.locate(describe(path).to_json(), str(path)) == path
    assert export.model_file(choice) == (path, None)


def test_rules_survive_the_way_from_choice_to_network_and_back(tiny_backbone):
    described = describe(with_rules(tiny_backbone, "-1:1", "srgb"))
    named = dataclasses.replace(described, name="efficientnet-lite0")
    choice = backbones.choice_of(named)
    assert (choice.value_range, choice.colour) == ("-1:1", "srgb")
    candidate = backbones.find(choice)
    assert (candidate.value_range, candidate.colour) == ("-1:1", "srgb")


@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_a_fit_changes_the_pixels_and_not_the_network(tiny_backbone, fit):
    path = with_rules(tiny_backbone, "", "", fit=fit)
    plain, fitted = describe(tiny_backbone), describe(path)
    assert fitted.preprocess.resize == plain.preprocess.input_size
    assert fitted.preprocess.fill == ((128, 128, 128) if fit == "pad" else ())
    assert Extraction(plain).digest != Extraction(fitted).digest
    assert with_rules(path, "", "", fit=fit) == path
    runner = Runner(path)
    assert parity.check_metadata(runner.metadata, runner.embed, fitted.preprocess)
    assert backbones.choice_of(dataclasses.replace(fitted, name="efficientnet-lite0")).fit == fit


def test_the_fit_that_a_file_has_is_the_file_itself(tiny_backbone):
    assert with_rules(tiny_backbone, "", "", fit="crop") == tiny_backbone


@pytest.mark.parametrize("views", VIEWS)
def test_features_of_views_are_averaged(tiny_backbone, views):
    path = with_rules(tiny_backbone, "", "", views=views)
    runner, plain = Runner(path), Runner(tiny_backbone)
    high, wide = runner.backbone.preprocess.size
    names = ["crop"] if views == "flip" else [name for name in views.split("+") if name != "flip"]
    assert high == len(names) * wide
    arrays = np.random.default_rng(0).integers(0, 256, (3, high, wide, 3), dtype=np.uint8)
    parts = [arrays[:, n * wide : (n + 1) * wide] for n in range(len(names))]
    if "flip" in views:
        parts.append(parts[0][:, :, ::-1])
    rows = [plain.embed(part.copy()) for part in parts]
    expected = np.mean(rows, axis=0)
    assert all(abs(row - expected).max() > 1e-3 for row in rows)
    np.testing.assert_allclose(runner.embed(arrays), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"fit": "whole"}, "export it with --fit whole"),
        ({"fit": "wide"}, "no fit 'wide'"),
        ({"views": "many"}, "no views 'many'"),
        ({"views": "crop"}, "no views 'crop'"),
        ({"views": "crop+whole+squash"}, "no views 'crop"),
        ({"views": "pad+whole"}, "no views 'pad"),
        ({"fit": "pad", "views": "crop+whole"}, "leave --fit out"),
    ],
)
def test_what_a_file_cannot_show_is_refused(tiny_backbone, rules, message):
    with pytest.raises(BackboneError, match=message):
        with_rules(tiny_backbone, "", "", **rules)


def test_other_spellings_of_views_are_the_same_file(tiny_backbone):
    path = with_rules(tiny_backbone, "", "", views="crop+flip+whole")
    assert with_rules(tiny_backbone, "", "", views="squash+flip+crop") == path
    assert describe(path).preprocess.views == "crop+flip+whole"
    assert choice("a?views=whole+flip+crop").views == "crop+flip+whole"
    assert choice("a", views="flip+crop").views == "flip"
    with pytest.raises(UsageError, match="no views 'twice'"):
        choice("a", views="twice")


def test_a_border_of_a_view_has_the_colour_of_the_mean(tiny_backbone):
    described = describe(with_rules(tiny_backbone, "", "", views="crop+pad")).preprocess
    assert described.fill == (128, 128, 128)
    crop, pad = described.each_view
    assert (crop.fit, crop.fill, pad.fit, pad.fill) == ("", (), "pad", described.fill)


def test_other_views_than_a_file_has_are_refused(tiny_backbone):
    flipped = with_rules(tiny_backbone, "", "", views="flip")
    with pytest.raises(BackboneError, match="exported for --views flip"):
        with_rules(flipped, "", "", views="crop+whole")


def test_int8_and_fp16_of_several_views(tiny_backbone, image_folder):
    from headstart import datasets
    from headstart.backbones.inference import precision, precision_choice

    flipped = with_rules(tiny_backbone, "", "", views="flip")
    half = Runner(precision.variant(flipped, "fp16"))
    assert half.backbone.preprocess.views == "flip"
    listing = datasets.open_source(str(image_folder("photos")))
    path, drift = precision_choice.quantised(flipped, listing, 1)
    assert describe(path).preprocess.views == "flip"
    assert drift.mean_cosine > 0.9
