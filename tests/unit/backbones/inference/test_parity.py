"""The certificate: fixed probes, a round trip, and every kind of drift noticed."""

import dataclasses

import numpy as np
import pytest
from headstart.backbones.inference import parity
from headstart.backbones.inference.parity import (
    Certificate,
    check,
    check_metadata,
    draw_probes,
    issue,
)
from headstart.backbones.inference.runner import Runner
from headstart.core.errors import BackboneError
from headstart.core.records import Preprocess
from headstart.datasets import images
from headstart.datasets.images import pixels


@pytest.fixture(scope="module")
def runner(tiny_backbone):
    return Runner(tiny_backbone)


@pytest.fixture(scope="module")
def preprocess(runner):
    return runner.backbone.preprocess


@pytest.fixture(scope="module")
def issued(runner, preprocess):
    return issue(runner.embed, preprocess)


def test_probes_are_fixed_and_cover_what_users_have(preprocess):
    probes = draw_probes(preprocess)
    assert probes == draw_probes.__wrapped__(preprocess)
    formats = {data[:3] for data in probes.values()}
    assert len(formats) >= 5
    crops = [images.decode(data, preprocess) for data in probes.values()]
    assert len({crop.tobytes() for crop in crops}) == len(probes)


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("resize", [36, 256, (240, 320)])
def test_a_probe_is_decoded_at_half_its_size(resize, monkeypatch):
    preprocess = Preprocess(resize=resize, crop=32)
    large = draw_probes(preprocess)["large.jpg"]
    divisors = []
    monkeypatch.setattr(pixels, "_decode_smaller", _listening(divisors))
    images.decode(large, preprocess)
    assert divisors == [2]


def _listening(divisors):
    original = pixels._decode_smaller

    def listen(*words):
        divisors.append(original(*words))
        return divisors[-1]

    return listen


def test_the_large_probe_stays_away_where_it_would_be_huge():
    assert "large.jpg" not in draw_probes(Preprocess(resize=1024, crop=1024))


def test_a_round_trip_changes_nothing(issued, runner, preprocess):
    again = Certificate.from_json(issued.to_json())
    assert again.probes == issued.probes
    np.testing.assert_array_equal(again.features, issued.features)
    drift = check(again, runner.embed, preprocess)
    assert drift.min_cosine == pytest.approx(1)
    assert drift.worst in issued.probes


@pytest.mark.parametrize("name", ["nearest", "bilinear"])
def test_another_interpolation_is_noticed(issued, runner, preprocess, name):
    other = dataclasses.replace(preprocess, interpolation=name)
    with pytest.raises(BackboneError, match=r"cosine 0\.\d+ on probe \S+, allowed 0\.999"):
        check(issued, runner.embed, other)


def test_another_size_is_noticed(issued, runner, preprocess):
    other = dataclasses.replace(preprocess, resize=preprocess.resize + 2)
    with pytest.raises(BackboneError, match="allowed"):
        check(issued, runner.embed, other)


@pytest.mark.parametrize(
    "broken",
    [
        lambda features: features * 0,
        lambda features: features * np.nan,
        lambda features: -features,
        lambda features: np.roll(features, 1, axis=1),
    ],
    ids=["zeros", "nan", "negated", "rolled"],
)
def test_a_runtime_that_computes_something_else_is_noticed(issued, runner, preprocess, broken):
    with pytest.raises(BackboneError, match="allowed"):
        check(issued, lambda crops: broken(runner.embed(crops)), preprocess)


def test_noise_within_the_limit_is_allowed(issued, runner, preprocess):
    def noisy(crops):
        features = runner.embed(crops)
        return features * (1 + 1e-4 * np.cos(np.arange(features.shape[1], dtype=np.float32)))

    drift = check(issued, noisy, preprocess)
    assert parity.MIN_COSINE <= drift.min_cosine < 1


def test_a_decoder_that_is_missing_is_said(issued, runner, preprocess):
    probes = issued.probes | {"photo.jpg": b"nothing that can be decoded"}
    with pytest.raises(BackboneError, match="cannot be decoded here"):
        check(Certificate(probes, issued.features), runner.embed, preprocess)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"probes": 1}', '{"probes": {}, "dim": 3, "features": "A"}', "null"],
)
def test_a_damaged_certificate_is_one_line(text, runner, preprocess):
    with pytest.raises(BackboneError, match=r"certificate is damaged .*; export it again$"):
        check_metadata({parity.METADATA: text}, runner.embed, preprocess)


def test_a_file_without_one_is_refused(runner, preprocess):
    with pytest.raises(BackboneError, match="carries no parity certificate"):
        check_metadata({}, runner.embed, preprocess)
