"""Every command, as a user runs it: exit code, stdout, stderr."""

import base64
import csv
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
from headstart.backbones.inference import parity
from headstart.backbones.inference.runner import METADATA, Runner
from headstart.core.records import Backbone
from headstart.features import store
from headstart.heads import HEADS

COMMANDS = ["demo-data", "backbones", "export", "features", "verify", "train-heads", "finetune"]
COMMANDS += ["predict", "serve", "report", "export-features", "export-model"]
HEADSTART = [sys.executable, "-c", "from headstart.cli import main; main()"]


@pytest.fixture
def headstart(tmp_path):
    """Run the command line in a process of its own, in an empty folder."""

    def run(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*HEADSTART, *map(str, words)], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == code, done.stderr + done.stdout
        assert "Traceback" not in done.stderr
        if code == 1:
            assert done.stderr.splitlines()[-1].startswith("headstart: ")
        return done

    return run


@pytest.fixture
def features(headstart, image_folder, tiny_backbone, tmp_path):
    """A store of a small labelled folder, embedded by the tiny backbone."""
    root = image_folder(tmp_path / "photos")
    headstart("features", root, "--backbone", tiny_backbone, "--out", tmp_path / "store.h5")
    return tmp_path / "store.h5"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_a_command_does(headstart, command):
    assert "Usage:" in headstart(command, "--help").stdout


def test_help_lists_every_command(headstart):
    text = headstart("--help").stdout
    assert all(command in text for command in COMMANDS)
    assert headstart("--version").stdout.startswith("headstart, version ")


@pytest.mark.parametrize(
    "words",
    [
        ["no-such-command"],
        ["features"],
        ["features", "photos"],
        ["features", "photos", "--out", "s.h5", "--workers", "0"],
        ["features", "photos", "--out", "s.h5", "--on-error", "ignore"],
        ["train-heads", "s.h5", "--out", "o", "--folds", "1"],
        ["train-heads", "--out", "o"],
        ["train-heads", "s.h5", "--out", "o", "--class-weight", "much"],
        ["train-heads", "s.h5", "--out", "o", "--save-head", "joblib"],
        ["predict", "m.onnx"],
        ["predict", "m.onnx", "a.jpg", "--out", "a.csv", "--format", "csv"],
        ["export-features", "s.h5"],
        ["predict", "m.onnx", "a.jpg", "--out", "a.txt"],
        ["predict", "m.onnx", "a.jpg", "--out", "a.csv", "--json"],
        ["demo-data"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(headstart, words):
    assert "Usage:" in headstart(*words, code=2).stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["features", "absent", "--out", "s.h5"], "no such file or folder"),
        (["features", ".", "--out", "s.h5"], "no images"),
        (["verify", "absent.h5"], "no feature store"),
        (["train-heads", "absent.h5", "--out", "o"], "no feature store"),
        (["predict", "absent.onnx", "a.jpg"], "no model"),
        (["report", "absent"], "results.json"),
        (["export", "efficientnet-lite1", "--out", "e.onnx"], "did you mean efficientnet-lite0"),
        (["export", "absent.onnx", "--out", "e.onnx"], "no backbone file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_missing_is_one_line_and_exit_code_1(headstart, words, text):
    done = headstart(*words, code=1)
    assert text in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_demo_data_is_written_once(headstart, tmp_path):
    first = headstart("demo-data", "demo", "--per-class", 4)
    assert "40 images of 10 classes written" in first.stdout
    before = sorted((p, p.stat().st_mtime_ns) for p in (tmp_path / "demo").rglob("*"))
    second = headstart("demo-data", "demo", "--per-class", 4)
    assert "nothing to do" in second.stdout
    assert sorted((p, p.stat().st_mtime_ns) for p in (tmp_path / "demo").rglob("*")) == before
    (tmp_path / "demo" / "dataset.json").unlink()
    assert "choose another" in headstart("demo-data", "demo", code=1).stderr


def test_backbones_lists_the_embedded_one(headstart):
    assert "efficientnet-lite0" in headstart("backbones").stdout
    document = json.loads(headstart("backbones", "--json").stdout)
    assert document["backbones"][0]["name"] == "efficientnet-lite0"
    assert document["backbones"][0]["at_hand"] is True


def test_features_embeds_and_says_so(headstart, image_folder, tiny_backbone, tmp_path):
    root = image_folder(tmp_path / "photos")
    words = ["features", root, "--backbone", tiny_backbone, "--out", "store.h5"]
    first = headstart(*words)
    assert "images/s" in first.stdout
    assert "rows, written" in first.stdout
    second = headstart(*words)
    assert "up to date, nothing to do" in second.stdout
    document = json.loads(headstart(*words, "--json").stdout)
    assert document["embedded"] == 0
    assert document["rows"] == len(store.read(tmp_path / "store.h5").path)


def test_features_names_bad_images(headstart, image_folder, tiny_backbone, tmp_path):
    root = image_folder(tmp_path / "photos")
    label = next(
        path for path in sorted(root.rglob("*")) if path.is_dir() and list(path.glob("*.*"))
    )
    (label / "broken.jpg").write_bytes(b"no image")
    (label / "empty\nname.png").write_bytes(b"")
    words = ["features", root, "--backbone", tiny_backbone, "--out", "store.h5"]
    done = headstart(*words)
    assert "2 images failed" in done.stdout
    assert "empty\\nname.png: empty file" in done.stdout
    failures = dict(store.read(tmp_path / "store.h5").failures)
    assert sorted(failures.values()) == [
        "empty file",
        "not a JPEG, PNG, WebP, BMP, TIFF or GIF image",
    ]
    failed = headstart(*words[:-1], "other.h5", "--on-error", "fail", code=1)
    assert "--on-error" in failed.stderr
    assert not (tmp_path / "other.h5").exists()


def test_features_refuses_another_backbone(headstart, features, tiny_backbone, tmp_path):
    model = onnx.load(tiny_backbone)
    facts = json.loads(next(p.value for p in model.metadata_props if p.key == METADATA))
    facts["weights_sha256"] = "0" * 64
    onnx.helper.set_model_props(model, {METADATA: json.dumps(facts)})
    onnx.save(model, tmp_path / "other.onnx")
    before = features.read_bytes()
    words = ["features", tmp_path / "photos", "--backbone", "other.onnx", "--out", features]
    assert "backbone.weights_sha256" in headstart(*words, code=1).stderr
    assert features.read_bytes() == before


def test_verify_names_defects(headstart, features):
    assert "sound" in headstart("verify", features).stdout
    with h5py.File(features, "r+") as file:
        file["features"][0, 0] = np.nan
    done = headstart("verify", features, code=1)
    assert "not finite" in done.stdout
    assert "checksum" in done.stdout


def contents(folder):
    """Return the bytes of every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_verify_repairs_and_features_brings_back_what_was_dropped(
    headstart, features, tiny_backbone, tmp_path
):
    sound = store.read(features)
    with h5py.File(features, "r+") as file:
        file["features"][3, 0] = np.nan
    document = json.loads(headstart("verify", features, "--json", code=1).stdout)
    assert document["sound"] is False
    assert "row 3 has features that are not finite" in document["defects"]
    done = headstart("verify", features, "--repair")
    assert "dropped 1 rows: features does not match its checksum" in done.stdout
    assert "sound" in done.stdout
    assert (tmp_path / "store.h5.damaged").exists()
    document = json.loads(headstart("verify", features, "--repair", "--json").stdout)
    assert (document["sound"], document["defects"]) == (True, [])
    words = ["features", tmp_path / "photos", "--backbone", tiny_backbone, "--out", features]
    assert json.loads(headstart(*words, "--json").stdout)["embedded"] == 1
    assert store.read(features).features.tobytes() == sound.features.tobytes()
    assert "--repair is for stores" in headstart("verify", "x.onnx", "--repair", code=2).stderr


def test_train_heads_writes_everything_once(headstart, features, tmp_path):
    words = ["train-heads", features, "--out", "results", "--folds", "3"]
    first = headstart(*words)
    for name in (*HEADS, "most-frequent", "raw-pixels", "written", "best"):
        assert name in first.stdout
    files = contents(tmp_path / "results")
    assert set(files) == {
        *("results.json", "predictions.csv", "label_issues.csv", "duplicates.csv"),
        *("model.onnx", "report.html", "MODEL_CARD.md", "predict_example.py"),
        *("plots/heads.svg", "plots/confusion.svg", "plots/reliability.svg"),
        "plots/learning-curve.svg",
    }
    second = headstart(*words)
    assert "up to date, nothing to do" in second.stdout
    assert files == contents(tmp_path / "results")
    document = json.loads(headstart(*words, "--json").stdout)
    assert document["schema"] == 1
    assert "--folds 3" in document["provenance"]["command"]
    assert "written" in headstart(*words, "--seed", "1").stdout
    assert "written" in headstart(*words, "--seed", "1", "--force").stdout
    (tmp_path / "results" / "report.html").unlink()
    assert str(Path("results", "report.html")) in headstart("report", "results").stdout


@pytest.fixture
def two_stores(headstart, features, tiny_backbone, tmp_path):
    """The same photos through two backbones that share a name: the second sees them smaller."""
    model = onnx.load(tiny_backbone)
    facts = json.loads(next(p.value for p in model.metadata_props if p.key == METADATA))
    facts["preprocess"]["resize"] = 48
    preprocess = Backbone.from_json(facts).preprocess
    proof = parity.issue(Runner(tiny_backbone).embed, preprocess)
    metadata = {METADATA: json.dumps(facts), parity.METADATA: proof.to_json()}
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, tmp_path / "near.onnx")
    words = ["--backbone", tmp_path / "near.onnx", "--out", tmp_path / "near.h5"]
    headstart("features", tmp_path / "photos", *words)
    return features, tmp_path / "near.h5"


def test_train_heads_compares_backbones(headstart, two_stores, tmp_path):
    words = ["train-heads", *two_stores, "--out", "both", "--heads", "knn,linear-svm"]
    done = headstart(*words, "--folds", "3")
    for text in ("backbone", "tiny (resize=36)", "tiny (resize=48)", "most-frequent"):
        assert text in done.stdout
    results = json.loads((tmp_path / "both" / "results.json").read_text())
    assert len(results["heads"]) == 4
    best = results["heads"][0]
    assert best["verdict"] == "best"
    assert best["backbone"] == results["best_backbone"]
    # The model is made of the backbone that won, and predicts what the comparison says.
    photos = tmp_path / "photos" / "test"
    rows = csv.DictReader(
        io.StringIO(headstart("predict", tmp_path / "both" / "model.onnx", photos).stdout)
    )
    with (tmp_path / "both" / "predictions.csv").open(newline="") as file:
        expected = {Path(row["path"]).relative_to("test"): row for row in csv.DictReader(file)}
    for row in rows:
        assert row["label"] == expected[Path(row["path"]).relative_to(photos)]["predicted"]
    assert "nothing to do" in headstart(*words, "--folds", "3").stdout


def test_labels_of_any_script_are_the_same_everywhere(
    headstart, image_folder, tiny_backbone, tmp_path
):
    names = ["كلب", "שלום", "猫と犬", "🦄🏳️‍🌈", "e\u0301te\u0301", "=1+1"]
    root = image_folder("photos", classes=names, per_class=4)
    headstart("features", root, "--backbone", tiny_backbone, "--out", "s.h5")
    words = ["train-heads", "s.h5", "--out", "r", "--heads", "knn", "--folds", "2"]
    done = headstart(*words)
    assert "48 images, 6 classes" in done.stdout
    out = tmp_path / "r"
    held = json.loads((out / "results.json").read_text(encoding="utf-8"))["dataset"]["classes"]
    assert sorted(held) == sorted(names)
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["true"] for row in rows} == set(names)
    assert {f"p:{name}" for name in names} <= set(rows[0])
    model = onnx.load(out / "model.onnx")
    facts = {prop.key: prop.value for prop in model.metadata_props}
    assert json.loads(facts["headstart.model"])["classes"] == held
    for path in (out / "report.html", out / "plots" / "confusion.svg", out / "MODEL_CARD.md"):
        text = path.read_text(encoding="utf-8")
        assert [name for name in names if name not in text] == []
    predicted = headstart("predict", out / "model.onnx", root / "test").stdout
    assert {row["label"] for row in csv.DictReader(io.StringIO(predicted))} <= set(names)


def test_a_store_without_a_row_is_refused_in_one_line(headstart, features, tmp_path):
    with h5py.File(features, "r+") as file:
        del file.attrs["checksums"], file["checks"]
        for name in ("features", "path", "label", "split", "sha256", "pixels", "size", "mtime_ns"):
            column = file[name]
            empty = {"shape": (0, *column.shape[1:]), "dtype": column.dtype}
            del file[name]
            file.create_dataset(name, **empty)
    done = headstart("train-heads", features, "--out", "results", code=1)
    assert "has no labelled images" in done.stderr


def test_train_heads_takes_each_store_once(headstart, features, tmp_path):
    again = Path("..") / tmp_path.name / features.name
    done = headstart("train-heads", features, again, "--out", "results", code=1)
    assert "is given twice; give each store once" in done.stderr
    (tmp_path / "copy.h5").write_bytes(features.read_bytes())
    done = headstart("train-heads", features, "copy.h5", "--out", "results", code=1)
    assert "stores 1 and 2 hold features of the same extraction (tiny)" in done.stderr
    assert not (tmp_path / "results").exists() or not any((tmp_path / "results").iterdir())


def test_train_heads_keeps_groups_together(headstart, features, tmp_path):
    photos = sorted((tmp_path / "photos" / "train" / "bark").iterdir())
    table = tmp_path / "groups.csv"
    names = [path.relative_to(tmp_path / "photos").as_posix() for path in photos[:2]]
    names.append(names[0].replace("train/", "test/"))
    table.write_text("path,group\n" + "".join(f"{name},tree\n" for name in names))
    words = ["train-heads", features, "--out", "results", "--heads", "knn", "--groups", table]
    done = headstart(*words)
    assert "hold further images of the groups of 1 test image" in done.stdout
    assert "nothing to do" in headstart(*words).stdout
    table.write_text("path,group\nelsewhere.jpg,tree\n")
    assert "the groups name none of the images" in headstart(*words, code=1).stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--validation", "predefined"], "no split named validation"),
        (["--small-classes", "error", "--folds", "7"], "bark, cloth have fewer than 7 training"),
        (["--validation", "predefined", "--repeats", "2"], "leave out either --repeats or"),
        (["--groups", "absent.csv"], "cannot read absent.csv"),
        (["--heads", "rfb-svm"], "did you mean rbf-svm"),
        (["--out", "store.h5"], "cannot write store.h5"),
    ],
)
def test_train_heads_refuses_before_it_trains(headstart, features, words, text):
    done = headstart("train-heads", features, "--out", "results", *words, code=1)
    assert text in done.stderr
    assert "cross-validation" not in done.stderr


def test_a_path_that_is_missing_is_told_before_the_first_row(
    headstart, tiny_classifier, image_folder
):
    done = headstart("predict", tiny_classifier, image_folder(), "missing", code=1)
    assert (done.stdout, "no such file or folder" in done.stderr) == ("", True)


@pytest.mark.slow
def test_the_map_is_made_as_asked_for(headstart, features, tmp_path):
    said = [("", "PCA, then t-SNE"), ("--map=pca", "the first two axes of PCA")]
    for option, words in said:  # the second time the results are up to date, the page is not
        headstart("train-heads", features, "--out", "r", *filter(None, [option]))
        assert words in (tmp_path / "r" / "report.html").read_text(encoding="utf-8")


def test_predict_writes_what_is_asked_for(headstart, tiny_classifier, image_folder, tmp_path):
    root = image_folder(tmp_path / "photos", splits=["test"])
    (root / "test" / "bark" / "broken.jpg").write_bytes(b"no image")
    words = ["predict", tiny_classifier, root]
    done = headstart(*words)
    assert "1 of 13 images could not be used" in done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 13
    for row in rows:
        scores = {name[2:]: value for name, value in row.items() if name.startswith("p:")}
        assert list(scores) == ["bark", "cloth", "drain"]
        if row["error"]:
            assert row["path"].endswith("broken.jpg")
            assert not row["label"]
        else:
            assert row["confidence"] == max(scores.values()) == scores[row["label"]]
    assert "13 predictions" in headstart(*words, "--out", "p.csv").stdout
    assert (tmp_path / "p.csv").read_text().splitlines() == done.stdout.splitlines()
    headstart(*words, "--out", "p.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    document = json.loads(headstart(*words, "--json").stdout)
    assert document["predictions"] == lines
    assert [line.get("label", "") for line in lines] == [row["label"] for row in rows]


def test_verify_makes_the_certificate_s_features_again(headstart, features, tmp_path):
    assert (
        "certificate: this machine makes the same features" in headstart("verify", features).stdout
    )
    with h5py.File(features, "r+") as file:
        held = json.loads(file.attrs["certificate"])
        values = np.frombuffer(base64.b64decode(held["features"]), "<f4")
        held["features"] = base64.b64encode(values[::-1].tobytes()).decode()
        file.attrs["certificate"] = json.dumps(held)
    assert "differ from the exporter's" in headstart("verify", features, code=1).stderr
    with h5py.File(features, "r+") as file:
        file.attrs["certificate"] = ""
    assert "keeps no certificate" in headstart("verify", features).stdout


def test_verify_checks_models_too(headstart, tiny_backbone, tiny_classifier, tmp_path):
    for path in (tiny_backbone, tiny_classifier):
        done = headstart("verify", path)
        assert "this machine makes the same features" in done.stdout
        assert "sound" in done.stdout
    (tmp_path / "cut.onnx").write_bytes(tiny_backbone.read_bytes()[:-1000])
    assert "cannot be loaded" in headstart("verify", "cut.onnx", code=1).stderr
    assert "no backbone file" in headstart("verify", "absent.onnx", code=1).stderr
    edited = tiny_classifier.read_bytes().replace(b'"cloth"', b'"bread"')
    (tmp_path / "edited.onnx").write_bytes(edited)
    assert "do not match their digest" in headstart("verify", "edited.onnx", code=1).stderr


def test_verify_without_the_backbone_says_so(headstart, image_folder, tiny_backbone, tmp_path):
    backbone = tmp_path / "gone.onnx"
    backbone.write_bytes(tiny_backbone.read_bytes())
    words = ["--backbone", backbone, "--out", "store.h5"]
    headstart("features", image_folder(tmp_path / "photos"), *words)
    backbone.unlink()
    done = headstart("verify", "store.h5")
    assert "were not compared" in done.stdout
    assert "sound" in done.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_what_was_done(
    headstart, image_folder, tiny_backbone, tmp_path, number, code
):
    root = image_folder(tmp_path / "photos")
    source = next(path for path in sorted(root.rglob("*")) if path.is_file())
    data = source.read_bytes()
    for at in range(3000):  # every one has bytes of its own
        (root / f"{at}{source.suffix}").write_bytes(data + at.to_bytes(4, "big"))
    words = ["features", root, "--backbone", tiny_backbone, "--out", "store.h5", "--workers", "1"]
    process = subprocess.Popen(
        [*HEADSTART, *map(str, words)], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    journal = tmp_path / "store.h5.journal"
    while not journal.exists() or journal.stat().st_size < 100_000:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert "the same command continues" in said
    assert journal.stat().st_size >= 100_000
    assert not Path(tmp_path / "store.h5").exists()
    done = headstart(*words)
    assert "of an unfinished run are kept" in done.stderr
    assert not journal.exists()
    assert headstart("verify", "store.h5").returncode == 0


def test_output_into_a_closed_pipe_is_no_traceback(features):
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"{sys.executable} -c 'from headstart.cli import main; main()' --help | true",
        ],
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr


class TestBackbones:
    def test_the_list_begins_with_what_is_at_hand(self, headstart):
        lines = headstart("backbones").stdout.splitlines()
        assert "efficientnet-lite0" in lines[3]
        assert "at hand" in lines[3]
        assert "search with: headstart backbones QUERY" in lines[-1]
        assert len(lines) < 60

    def test_a_search_as_json(self, headstart):
        found = json.loads(headstart("backbones", "resnet50", "V2", "--json").stdout)["backbones"]
        (row,) = [one for one in found if one["name"] == "torchvision:resnet50@IMAGENET1K_V2"]
        assert row["architecture"] == "resnet50"
        assert (row["accuracy"], row["features"], row["size"]) == (80.858, 2048, [224, 224])
        assert row["at_hand"] is False
        assert all("v2" in one["name"].lower() for one in found)

    def test_layers_with_their_shapes(self, headstart):
        name = "torchvision:resnet18"
        text = headstart("backbones", name, "--layers").stdout
        assert any(line.split()[:6] == "layer3 256 × 14 × 14".split() for line in text.splitlines())
        rows = json.loads(headstart("backbones", name, "--layers", "--json").stdout)["layers"]
        assert ("layer3", [256, 14, 14]) in [(row["name"], row["shape"]) for row in rows]

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["backbones", "efficientnetlite"], "nothing matches 'efficientnetlite'; did you mean"),
            (["backbones", "resnet50", "--layers"], "or timm:resnet50 or torchvision:resnet50;"),
            (
                ["export", "torchvision:resnet18", "--out", "x.onnx"],
                "fetch https://download.pytorc",
            ),
            (["export", "timm:resnet18", "--out", "x.onnx"], "fetch https://huggingface.co/timm/"),
            (
                ["export", "efficientnet-lite0", "--layer", "block", "--out", "x.onnx"],
                "no layer 'block'; did you mean blocks",
            ),
            (
                ["export", "efficientnet-lite0", "--weights", "no.pth", "--out", "x.onnx"],
                "cannot read the weights file no.pth: No such file or directory",
            ),
        ],
        ids=["search", "layers", "torchvision offline", "timm offline", "layer", "weights"],
    )
    def test_what_goes_wrong_is_one_line(self, headstart, monkeypatch, tmp_path, words, said):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing leaves this machine
        assert said in headstart(*words, code=1).stderr
        assert not (tmp_path / "x.onnx").exists()

    def test_a_file_is_exported_already(self, headstart, tiny_backbone, image_folder):
        words = ["features", image_folder(), "--backbone", tiny_backbone, "--out", "s.h5"]
        said = headstart(*words, "--layer", "conv", code=1).stderr
        assert "is exported already" in said

    @pytest.mark.slow
    def test_random_weights_are_marked_from_features_to_predictions(
        self, headstart, image_folder, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        words = ["--backbone", "efficientnet-lite0", "--weights", "random", "--layer", "blocks.0"]
        root, mark = image_folder("photos"), "efficientnet-lite0+random has random weights"
        assert mark in headstart("features", root, *words, "--pool", "max", "--out", "s.h5").stderr
        for path in (tmp_path / "cache/headstart/backbones").iterdir():
            path.unlink()  # it is made again from what the store says
        done = headstart("train-heads", "s.h5", "--out", "r", "--heads", "knn", "--folds", "2")
        assert mark in done.stdout
        results = json.loads((tmp_path / "r/results.json").read_text())
        assert mark in results["warnings"][0]
        backbone = results["extraction"]["document"]["backbone"]
        assert (backbone["layer"], backbone["pool"]) == ("blocks.0", "max")
        assert mark in (tmp_path / "r/report.html").read_text()
        assert mark in headstart("predict", "r/model.onnx", root).stderr
        assert "sound" in headstart("verify", "s.h5").stdout
        said = headstart("features", root, *words, "--pool", "avg", "--out", "s.h5", code=1).stderr
        assert "backbone.pool: max there, avg now" in said
