"""The parts of the benchmarks that can be wrong without anybody noticing: ratios, photos, talk."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import h5py
import numpy as np
import pytest
from headstart.core.choices import TUNED
from headstart.core.errors import RunnerError
from headstart.core.parallel import available_cores
from headstart.core.records import Backbone, Extraction, Preprocess
from headstart.datasets import images
from headstart.features import store

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bench(monkeypatch):
    """Import modules of the benchmarks, which are scripts and no package."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


def test_a_round_compares_with_the_best_setting_of_that_round(bench):
    cell = bench("extraction").results(
        {
            ("headstart", "headstart"): [12.0, 12.0, 9.0],
            ("headstart", "bound"): [12.0, 16.0, 10.0],
            ("headstart", "apart"): [10.0, 12.0, 9.0],
            ("headstart int8", "headstart"): [24.0, 24.0, 18.0],
            ("headstart int8", "bound"): [32.0, 30.0, 20.0],
            ("headstart int8", "apart"): [24.0, 30.0, 18.0],
            ("dataloader", "a"): [4.0, 2.0, 1.0],
            ("dataloader", "b"): [3.0, 6.0, 3.0],
        }
    )
    assert cell["speeds"]["dataloader"] == [4.0, 6.0, 3.0]
    assert cell["headstart_to"] == {
        "bound": [1.0, 0.75, 0.9],
        "apart": [1.2, 1.0, 1.0],
        "dataloader": [3.0, 2.0, 3.0],
    }
    assert cell["bound_to"]["dataloader"] == pytest.approx([3.0, 16 / 6, 10 / 3])
    assert cell["int8_to"] == {
        "headstart": [2.0, 2.0, 2.0],
        "bound int8": [0.75, 0.8, 0.9],
        "apart int8": [1.0, 0.8, 1.0],
        "dataloader": [6.0, 4.0, 6.0],
    }


def test_large_photos_keep_the_layout_that_won_and_drop_the_largest_batch(bench):
    settings = [
        {"name": f"{batch}-{last}", "batch": batch, "channels_last": last}
        for batch in (1, 32)
        for last in (False, True)
    ]
    trial = {"1-False": 1.0, "1-True": 2.0, "32-False": 3.0, "32-True": 9.0}
    kept = bench("extraction").shortlist(trial, settings)
    assert [setting["name"] for setting in kept] == ["1-True"]


def test_rounds_turn_their_order(bench):
    calls = []
    contenders = {name: lambda name=name: calls.append(name) or 1.0 for name in "abc"}
    assert bench("alternate").rounds(contenders, 3) == {name: [1.0] * 3 for name in "abc"}
    assert "".join(calls) == "abccbaabc"


def test_a_selection_is_spread_evenly(bench):
    spread = bench("photos").spread
    assert spread(range(10), 4) == [0, 2, 5, 7]
    assert spread(range(3), 4) == [0, 1, 2]
    assert spread([], 4) == []


def test_a_mosaic_shows_each_photo_in_its_tile(bench, tmp_path):
    photos, files = bench("photos"), []
    for number in range(12):
        files.append(tmp_path / f"{number}.png")
        images.save_png(files[-1], np.full((5, 7, 3), 20 * number, np.uint8))
    pixels = np.asarray(photos.mosaic(files, (41, 31)))
    assert pixels.shape == (31, 41, 3)
    assert [pixels[31 * r // 3 + 3, 41 * c // 4 + 3, 0] for r in range(3) for c in range(4)] == [
        20 * number for number in range(12)
    ]


def test_large_photos_are_made_once(bench, tmp_path):
    photos, source = bench("photos"), tmp_path / "source.png"
    images.save_png(source, np.arange(75, dtype=np.uint8).reshape(5, 5, 3))
    made = photos.enlarge([source], tmp_path / "large", 2, (40, 30))
    before = [path.stat().st_mtime_ns for path in made]
    assert photos.enlarge([source], tmp_path / "large", 2, (40, 30)) == made
    assert [path.stat().st_mtime_ns for path in made] == before
    assert len(list((tmp_path / "large").iterdir())) == 2


def test_todays_ratios_stand_beside_the_recorded_ones(bench):
    recorded = {"heads: plain / ours": [2.0, 4.0, 9.0], "gone " * 20: [1.0]}
    lines = (
        bench("bench").table(recorded, {"heads: plain / ours": [5.0], "new": [0.5]}).splitlines()
    )
    assert all(len(line) <= 80 for line in lines)
    cells = {line[:20].strip(): line.split()[-3:] for line in lines}
    assert cells["heads: plain / ours"] == ["4.00", "5.00", "+25%"]
    assert cells["new"] == ["–", "0.50", "–"]


PART = """
import page, sys
options = page.parser("").parse_args(sys.argv[1:])
with page.recorded(options):
    page.ratio("a / b", [2.0, 3.0])
"""


def test_a_part_that_fails_leaves_the_others(
    bench, tmp_path, monkeypatch, image_folder, tiny_backbone, capsys
):
    module, page = bench("bench"), bench("page")
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "good.py").write_text(PART)
    (folder / "bad.py").write_text("raise SystemExit('no model')")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "benchmarks"))
    commands = {name: [str(folder / f"{name}.py")] for name in ("bad", "good")}
    monkeypatch.setattr(module, "parts", lambda photos, out, scale: commands)
    monkeypatch.setattr(module.export, "model_file", lambda name: (tiny_backbone, None))
    monkeypatch.setattr(page, "DATA", tmp_path)
    file = tmp_path / "today.json"
    data = image_folder("data", per_class=2)
    monkeypatch.setattr("sys.argv", ["bench.py", str(data), "--images", "4", "--json", str(file)])
    with pytest.raises(SystemExit, match="1"):
        module.main()
    printed = capsys.readouterr().out
    assert "not measured: bad: no model" in printed
    assert "2.50" in printed
    section = json.loads(file.read_text())["results"]
    assert section["ratios"] == {"good: a / b": [2.0, 3.0]}
    assert section["samples"]["photos"] == [4]
    file.rename(tmp_path / "bench.json")  # recorded with four photos, today there are two
    monkeypatch.setattr("sys.argv", ["bench.py", str(data), "--images", "2", "--json", str(file)])
    with pytest.raises(SystemExit, match="1"):
        module.main()
    assert "2 photos, 4 when recorded" in capsys.readouterr().out


def test_a_slow_part_does_not_cost_the_others_theirs(bench, tmp_path):
    module = bench("bench")
    names = list(module.SHARES)
    left, limits = float(module.LIMIT), []
    for number in range(len(names)):
        limits.append(module.share(names[number:], left))
        left -= limits[-1]  # each takes all that it may
    assert left == pytest.approx(0)
    assert limits == [
        pytest.approx(module.LIMIT * each / sum(module.SHARES.values()))
        for each in module.SHARES.values()
    ]
    assert all(limit > module.SHARES[name] for name, limit in zip(names, limits, strict=True))
    assert module.share(names[-1:], 100.0) == 100  # what others leave is for the rest
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert module.run(sleeping, 1) == "its share of the time, 1 s, was over"


def test_a_slow_machine_gets_fewer_rounds_and_photos(bench, tmp_path, image_folder):
    module, photos = bench("bench"), image_folder(per_class=2)

    def words(scale):
        commands = module.parts(photos, tmp_path, scale)
        assert list(commands) == list(module.SHARES)  # the ratios that matter most come first
        names = ("starting", "serving")
        rounds = [int(commands[n][commands[n].index("--rounds") + 1]) for n in names]
        extraction = commands["extraction"]
        return rounds, int(extraction[extraction.index("--images") + 1])

    fast, slow = words(1.0), words(0.3)
    assert all(a > b for a, b in zip(fast[0], slow[0], strict=True))
    assert fast[1] > slow[1]


def test_the_probe_counts_photos_a_second_of_all_cores(bench, tiny_backbone, image_folder):
    assert bench("bench").speed(str(image_folder()), tiny_backbone) > 1


def test_a_short_trial_has_settings_that_won(bench):
    brief = bench("extraction").winners
    torch = [
        {"batch": batch, "threads": threads, "channels_last": last}
        for batch in (1, 8, 32)
        for threads in (1, 2)
        for last in (False, True)
    ]
    assert brief(torch) == [{"batch": b, "threads": 2, "channels_last": True} for b in (1, 8)]
    assert brief([{"batch": 4}, {"batch": 64}]) == [{"batch": 4}]


@pytest.mark.further("test_large_photos_are_made_once")
@pytest.mark.slow
def test_photos_for_a_gpu_have_bytes_of_their_own(bench, tmp_path):
    gpu = bench("gpu")
    files = list(gpu.unique(gpu.sources(None)[:2], 5, tmp_path))
    contents = [path.read_bytes() for path in files]
    assert len(set(contents)) == 5
    whole = Preprocess(gpu.SIDE, gpu.SIDE)
    assert np.array_equal(*(images.decode(contents[number], whole) for number in (0, 2)))


@pytest.mark.further("test_a_part_that_fails_leaves_the_others")
@pytest.mark.slow
def test_a_gpu_that_is_not_there_is_one_line_and_the_rest_goes_on(bench, monkeypatch, capsys):
    gpu = bench("gpu")

    def absent(*arguments):
        raise RunnerError("device cuda needs CUDAExecutionProvider, which this onnxruntime lacks")

    monkeypatch.setattr(gpu, "prove", absent)
    monkeypatch.setattr(gpu, "race", absent)
    monkeypatch.setattr(gpu.networks, "model_file", lambda *arguments: Path("model.onnx"))
    searched = []
    monkeypatch.setattr(gpu, "search", lambda rows, rounds, device: searched.append(device))
    monkeypatch.setattr("sys.argv", ["gpu.py", "--images", "0"])
    monkeypatch.setattr(bench("page"), "save", lambda file, name, section: None)
    gpu.main()
    lines = capsys.readouterr().out.splitlines()
    assert sum("not possible here: device cuda needs" in line for line in lines) == 8
    assert searched == ["cuda"]


@pytest.mark.further("test_a_contender_answers_and_its_failure_has_a_reason")
def test_the_search_by_torch_finds_what_separates(bench):
    rng, labels = np.random.default_rng(0), np.arange(60) % 3
    rows = (rng.normal(0, 0.1, (60, 4)) + np.eye(4)[labels]).astype(np.float32)
    assert bench("gpu").torch_search(rows, labels, np.arange(60) % 5, "cpu") == 1


@pytest.mark.long
def test_the_gpu_script_is_rehearsed_on_the_cpu(bench, tmp_path, monkeypatch, capsys):
    gpu, file = bench("gpu"), tmp_path / "gpu.json"
    words = ["--images", "3", "--rounds", "1", "--json", str(file)]
    parts = ["--parts", "parity", "embedding"]
    monkeypatch.setattr("sys.argv", ["gpu.py", "--rehearse", *words, *parts])
    gpu.main()
    section = json.loads(file.read_text())["results"]
    assert "not possible here" not in capsys.readouterr().out
    assert min(section["samples"]["parity, cpu, fp16"][0]["cosine"]) > 0.999
    names = {"bound", "torch eager", "torch.compile"}
    assert {f"cpu, fp32: headstart / {name}" for name in names} <= set(section["ratios"])


SCRIPT = """
import alternate

def answer(request):
    print("a library that talks")
    return {"double": 2 * request["value"]}

alternate.serve(answer)
"""


def test_a_contender_answers_and_its_failure_has_a_reason(bench, tmp_path):
    alternate, script = bench("alternate"), tmp_path / "script.py"
    script.write_text(SCRIPT)
    contender = alternate.Contender(script, {"value": 1}, python=sys.executable)
    assert contender.opened == {"double": 2}
    assert contender.ask({"value": 4}) == {"double": 8}
    with pytest.raises(alternate.ContenderError, match="KeyError: 'value'"):
        contender.ask({})
    script.write_text("raise SystemExit(3)")
    with pytest.raises(alternate.ContenderError, match="exit code 3"):
        alternate.Contender(script, {"value": 1})


def test_every_variant_differs_from_the_default(bench):
    settings = dict(bench("variants").SETTINGS)
    default = settings.pop("default")
    assert settings.pop("default again") == default
    if available_cores() == 1:
        assert settings.pop("twice the workers") == settings["one worker more"]
    assert all(setting != default for setting in settings.values())
    assert len({str(setting) for setting in settings.values()}) == len(settings)


@pytest.mark.slow
def test_a_generated_store_is_sound_and_the_same_each_time(bench, tmp_path, monkeypatch):
    made = bench("past_memory")
    monkeypatch.setattr(made, "SHARD", 70)
    monkeypatch.setattr(made, "BLOCK", 40)
    backbone = Backbone(
        "generated", "none", "0" * 64, "none", "", "", "fp32", made.DIM, (0,) * 3, (1,) * 3,
        Preprocess(36, 32),
    )  # fmt: skip
    extraction = Extraction(backbone)
    like = tmp_path / "like.h5"
    with h5py.File(like, "w") as file:
        file.attrs["extraction"] = json.dumps(extraction.to_json())
        file.attrs["digest"], file.attrs["run"] = extraction.digest, "{}"
        file.attrs["certificate"] = ""
    for name in ("a", "b"):
        made.make(tmp_path / name, 150, like)
    a, b = (store.read(tmp_path / name) for name in ("a", "b"))
    assert a.features.shape == (150, 1280)
    assert np.array_equal(a.features, b.features)
    assert np.array_equal(a.label, b.label)
    assert a.split.count("test") == 30


def test_growth_is_drawn_where_it_was_measured(bench):
    runs = [
        {"rows": rows, "peak_gib": 1.0, "warnings": warnings, "heads": {"knn": {"seconds": 10.0}}}
        for rows in (10_000, 1_000_000)
        for warnings in ([], ["the features stay on disk"])
    ]
    svg = ElementTree.fromstring(bench("past_memory").draw(runs))
    texts = ["".join(one.itertext()) for one in svg.iter() if one.tag.endswith("text")]
    assert {"knn", "from disk", "in memory"} <= set(texts)
    assert "rbf-svm" not in texts
    assert sum(one.tag.endswith("circle") for one in svg.iter()) == 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("k", "accuracy", "sharpness", "unequal"),
    [(2, 0.97, 1.0, False), (5, 0.9, 2.5, True), (3, 0.995, 0.4, False)],
)
def test_intervals_cover_the_truth_of_simulated_classifiers(bench, k, accuracy, sharpness, unequal):
    """A small version of benchmarks/honesty.py, which has the figures."""
    honesty = bench("honesty")
    drawn = honesty.population(k, accuracy, sharpness, unequal, seed=1, size=8000)
    assert honesty.truth(*drawn)["accuracy"] == pytest.approx(accuracy, abs=0.005)
    for score, share in honesty.coverage(*drawn, 60, simulations=60).items():
        assert share >= 0.85, score  # three standard errors below 95 %


def test_simulated_tables_hardly_ever_have_a_false_verdict(bench):
    honesty = bench("honesty")
    assert honesty.false_verdicts(12, 100, 0.5, simulations=60) <= 0.08
    assert honesty.grouped(20, 5, 0.9, 0.5, simulations=60) >= 0.87


@pytest.mark.further("test_intervals_cover_the_truth_of_simulated_classifiers")
@pytest.mark.slow
@pytest.mark.usefixtures("no_curve")
def test_few_images_say_more_out_of_fold_than_in_a_fifth(bench):
    honesty = bench("honesty")
    error, width, coverage, accuracy = honesty.few("digits", 100, False, simulations=4)
    assert width < 0.7 * honesty.few("digits", 100, True, simulations=4)[1]
    assert error < 0.1
    assert coverage >= 0.5
    assert accuracy > 0.8


@pytest.mark.parametrize("tuned_wins", [True, False])
def test_fine_tuning_is_compared_with_the_frozen_head_that_validates_best(bench, tuned_wins):
    trained = bench("trained")
    tuned = {
        "name": TUNED,
        "cv_accuracy": 0.5,
        "test_accuracy": 0.88,
        "test_accuracy_ci": [0.8, 0.9],
    }
    svm = {"name": "linear-svm", "cv_accuracy": 0.8, "test_accuracy": 0.85}
    knn = {"name": "knn", "cv_accuracy": 0.7, "test_accuracy": 0.9}
    unset = {"difference": None, "difference_ci": None}
    if tuned_wins:
        tuned, svm = tuned | unset, svm | {"difference": -0.03, "difference_ci": [-0.06, 0.01]}
    else:
        tuned, svm = tuned | {"difference": 0.03, "difference_ci": [-0.01, 0.06]}, svm | unset
    assert trained.tuned_cells([svm, tuned, knn]) == (
        "85.0 (linear-svm) | 88.0 (80.0–90.0) | +3.0 (-1.0 to 6.0)"
    )
