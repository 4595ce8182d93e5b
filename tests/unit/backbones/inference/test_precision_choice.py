"""int8 and auto: calibrated on the user's images, measured, refused, found again."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnx
import pytest
from headstart import datasets
from headstart.backbones.inference import parity, precision_choice
from headstart.backbones.inference import runner as runner_module
from headstart.backbones.inference.precision import variant
from headstart.backbones.inference.precision_choice import (
    Budget,
    Drift,
    fitting,
    quantised,
    sample,
)
from headstart.backbones.inference.runner import Runner
from headstart.core.errors import BackboneError

OPEN = Budget(drift=2.0, loss=100.0)


@pytest.fixture
def listing(image_folder):
    return datasets.open_source(str(image_folder(per_class=20)))


@pytest.fixture
def made(tiny_backbone, listing):
    return quantised(tiny_backbone, listing, 2)


def test_the_file_computes_in_integers_and_says_so(tiny_backbone, made):
    path, drift = made
    runner = Runner(path)
    assert runner.backbone.precision.startswith("int8+")
    operators = {node.op_type for node in onnx.load(path).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators
    whole = dataclasses.replace(runner.backbone, precision="fp32")
    assert whole == Runner(tiny_backbone).backbone
    assert 0.98 < drift.min_cosine <= drift.mean_cosine < 1
    assert drift.labelled == drift.images
    assert drift.accuracy is not None


def test_a_head_can_be_joined_to_it(made):
    assert [entry.domain for entry in onnx.load(made[0]).opset_import] == [""]


def test_the_certificate_is_its_own(tiny_backbone, made):
    runner, full = Runner(made[0]), Runner(tiny_backbone)
    own = parity.Certificate.from_json(runner.metadata[parity.METADATA])
    drift = parity.check(own, runner.embed, runner.backbone.preprocess)
    assert drift.min_cosine == pytest.approx(1)
    theirs = parity.Certificate.from_json(full.metadata[parity.METADATA])
    assert not np.array_equal(own.features, theirs.features)


def test_it_is_made_once(tiny_backbone, listing, made):
    before = made[0].stat().st_mtime_ns
    assert quantised(tiny_backbone, listing, 1) == made
    assert made[0].stat().st_mtime_ns == before
    assert variant(tiny_backbone, Runner(made[0]).backbone.precision) == made[0]


def test_other_images_make_another_file(tiny_backbone, made, image_folder, write_image):
    root = image_folder("others", per_class=4)
    write_image(root / "train/bark/more.png", 999)
    other, _ = quantised(tiny_backbone, datasets.open_source(str(root)), 2)
    assert Runner(other).backbone.precision != Runner(made[0]).backbone.precision


def test_a_precision_that_is_not_in_the_cache(tiny_backbone):
    with pytest.raises(BackboneError, match="int8\\+0 file of tiny is not in the cache"):
        variant(tiny_backbone, "int8+0")


@pytest.mark.parametrize("budget", [Budget(drift=0.0), Budget(drift=0.0, loss=100.0)])
def test_over_the_budget_it_is_refused_with_both_figures(tiny_backbone, listing, budget):
    match = r"outside the budget: mean cosine 0\.\d+, .* accuracy of .* % on|outside the budget"
    with pytest.raises(BackboneError, match=match) as caught:
        fitting(tiny_backbone, "int8", listing, budget)
    assert "mean cosine" in str(caught.value)
    assert "accuracy of logistic regression" in str(caught.value)
    assert "--max-drift" in str(caught.value)


def test_without_labels_the_cosine_decides_and_it_says_so(tiny_backbone, listing):
    unknown = [dataclasses.replace(ref, label=None) for ref in listing.images]
    bare = dataclasses.replace(listing, images=unknown, classes=())
    told = []
    _, facts = fitting(tiny_backbone, "int8", bare, Budget(), notice=told.append)
    assert facts["drift"]["accuracy"] is None
    assert "too few labels to measure accuracy, so the cosine alone decides" in told[-1]


@pytest.fixture
def race(monkeypatch):
    """Give a dictionary of speeds against fp32 in place of timing; files not in it are as fast."""
    ratios: dict[str, float] = {}

    def ratio(self, runner):
        return ratios.get(runner.backbone.precision.partition("+")[0], 1.0)

    monkeypatch.setattr(precision_choice._Race, "_ratio", ratio)
    return ratios


@pytest.mark.slow
def test_auto_takes_the_fastest_inside_the_budget_and_tells_all(tiny_backbone, listing, race):
    race |= {"fp16": 1.5, "int8": 2.0}
    told: list[str] = []
    _, facts = fitting(tiny_backbone, "auto", listing, OPEN, notice=told.append)
    speeds = facts["speeds"]
    assert facts["precision"].startswith("int8+")
    assert speeds["int8"] == pytest.approx(2 * speeds["fp32"], rel=0.01)
    assert facts["drift"]["accuracy"] is not None
    assert [line.partition(":")[0] for line in told] == ["fp32", "fp16", "int8"]
    assert [line.endswith("; chosen") for line in told] == [False, False, True]
    told.clear()
    path, facts = fitting(tiny_backbone, "auto", listing, Budget(drift=0.0), notice=told.append)
    assert (path, facts["precision"]) == (tiny_backbone, "fp32")
    assert told[2].endswith("outside the budget")


def test_auto_measures_no_drift_of_what_is_slower(tiny_backbone, listing, race, monkeypatch):
    race |= {"fp16": 0.4, "int8": 0.9}
    monkeypatch.setattr(precision_choice, "_measure", None)
    told: list[str] = []
    path, facts = fitting(tiny_backbone, "auto", listing, OPEN, notice=told.append)
    assert (path, facts["precision"]) == (tiny_backbone, "fp32")
    assert set(facts["speeds"]) == {"fp32", "fp16", "int8"}
    assert sum("not measured" in line for line in told) == 2
    assert told[0].endswith("chosen")


@pytest.mark.parametrize(
    ("seconds", "rounds", "ratio"),
    [
        ([1.0, 4.0], 1, 4.0),
        ([1.0, 1.5], 2, 1.5),
        ([1.5, 1.0], 2, 1 / 1.5),
        ([1.0, 1.05], 5, 1.05),
    ],
)
def test_a_clear_ratio_ends_the_timing(tiny_backbone, monkeypatch, seconds, rounds, ratio):
    race = precision_choice._Race(tiny_backbone, np.zeros((1, 32, 32, 3), np.uint8), 1)
    other, called = Runner(tiny_backbone), []

    def timed(runner, batch):
        called.append(runner)
        return seconds[runner is not other]

    monkeypatch.setattr(precision_choice, "_seconds", timed)
    assert race._ratio(other) == pytest.approx(ratio)
    assert len(called) == 2 * rounds


@pytest.mark.parametrize(
    ("speed", "workers", "ratio", "count"),
    [(85.0, 2, 1.8, 250), (85.0, 16, 1.8, 1000), (200.0, 2, 1.8, 500), (85.0, 2, 0.9, 0)],
)
def test_the_time_decides_how_many_images_are_measured(
    tiny_backbone, race, speed, workers, ratio, count
):
    race["fp32"] = ratio
    chosen = precision_choice._Race(tiny_backbone, np.zeros((1, 32, 32, 3), np.uint8), workers)
    chosen.speeds["fp32"] = speed
    assert chosen.enough("other")(tiny_backbone) == count


@pytest.mark.parametrize(
    ("flags", "operator", "pays"),
    [
        ("avx2 avx512_vnni", "Relu", True),
        ("avx2 avx_vnni", "Relu", True),
        ("avx2 avx512f", "Relu", False),
        ("", "Relu", False),
        ("avx512_vnni", "HardSwish", False),
    ],
)
def test_int8_is_worth_a_hint_on_processors_and_networks_that_it_suits(
    tmp_path, monkeypatch, flags, operator, pays
):
    monkeypatch.setattr(runner_module, "_cpu_fact", lambda name: flags if name == "flags" else "")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, ["x"], ["y"])], "g", [value], [value]
    )
    onnx.save(onnx.helper.make_model(graph), tmp_path / "net.onnx")
    assert precision_choice.would_pay(tmp_path / "net.onnx") is pays


def test_a_store_goes_on_with_its_own_file(tiny_backbone, listing, made):
    held = Runner(made[0]).backbone.precision
    few = dataclasses.replace(listing, images=listing.images[:5])  # would make another digest
    for wanted in ("int8", "auto"):
        path, facts = fitting(tiny_backbone, wanted, few, OPEN, held)
        assert (path, facts["precision"]) == (made[0], held)
        assert facts["drift"]["images"] == made[1].images


@pytest.mark.parametrize("wanted", ["int8", "auto"])
def test_a_store_outside_of_a_smaller_budget_is_not_continued(tiny_backbone, listing, made, wanted):
    held = Runner(made[0]).backbone.precision
    with pytest.raises(BackboneError, match=r"outside the budget: .*; write another store with --"):
        fitting(tiny_backbone, wanted, listing, Budget(drift=0.0), held)


def test_the_sample_hardly_changes_when_images_are_added(listing):
    def paths(images):
        return [ref.path for ref in sample(dataclasses.replace(listing, images=images))]

    every = paths(listing.images)
    assert paths(listing.images[:-7]) == [
        path for path in every if path in {ref.path for ref in listing.images[:-7]}
    ]
    assert paths(list(reversed(listing.images))) == every


def test_figures_say_what_they_mean():
    drift = Drift(1000, 0.99, 0.9, 1000, 0.9, 0.894, False, "")
    assert drift.loss == 0.6
    assert not drift.within(Budget())
    assert drift.within(Budget(loss=0.6))
    assert not drift.within(Budget(drift=0.009, loss=1))
    assert dataclasses.replace(drift, accuracy=None).within(Budget())
    assert not dataclasses.replace(drift, mean_cosine=float("nan")).within(OPEN)
    assert json.dumps(dataclasses.asdict(drift))
    few = dataclasses.replace(drift, loss_error=0.4)  # as much as chance does on few images
    assert few.within(Budget())
    assert "a loss of 0.6 ± 0.4 points" in str(few)
    assert not dataclasses.replace(few, accuracy=0.88).within(Budget())


@pytest.mark.slow
def test_accuracy_of_few_images_is_measured_again_before_it_refuses(
    tiny_backbone, listing, race, monkeypatch, tmp_path
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # an int8 file keeps what was measured
    race |= {"fp16": 0.5, "int8": 2.0}
    monkeypatch.setattr(precision_choice, "STEPS", (40,))
    measure, counts = precision_choice._measure, []

    def noisy(model, other, listing, refs, *others):
        counts.append(len(refs))
        drift = measure(model, other, listing, refs, *others)
        return dataclasses.replace(
            drift, accuracy_fp32=0.9, accuracy=0.8 if counts[1:] == [] else 0.9
        )

    monkeypatch.setattr(precision_choice, "_measure", noisy)
    monkeypatch.setattr(precision_choice, "CALIBRATION", 16)
    _, facts = fitting(tiny_backbone, "auto", listing, Budget(drift=2.0))
    assert facts["precision"].startswith("int8+")
    assert counts == [40, len(listing.images) - 16]
