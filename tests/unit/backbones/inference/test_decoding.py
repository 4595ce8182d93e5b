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
from headstart.core.errors import BackboneError
from headstart.core.records import Choice, Extraction


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
