"""``headstart train-heads`` and ``report``."""

import contextlib
import csv
import io
import json
import shutil
from pathlib import Path

import h5py
import onnx
import pytest
from headstart.backbones.inference import parity
from headstart.backbones.inference.description import METADATA
from headstart.backbones.inference.runner import Runner
from headstart.cli import run
from headstart.core.records import Backbone
from headstart.evaluation.compare import training
from headstart.heads import MEAN, default_heads


def contents(folder):
    """Return the bytes of every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.slow
def test_train_heads_writes_everything_once(headstart, features, tmp_path):
    words = ["train-heads", features, "--out", "results", "--folds", "3"]
    first = headstart(*words)
    for name in (*default_heads(), "most-frequent", "raw-pixels", "written", "best"):
        assert name in first.stdout
    files = contents(tmp_path / "results")
    assert set(files) == {
        *("results.json", "predictions.csv", "label_issues.csv", "duplicates.csv", "sessions.csv"),
        *("model.onnx", "report.html", "MODEL_CARD.md", "predict_example.py"),
        *("plots/heads.svg", "plots/confusion.svg", "plots/reliability.svg"),
        "plots/learning-curve.svg",
    }
    second = headstart(*words)
    assert "up to date, nothing to do" in second.stdout
    assert files == contents(tmp_path / "results")
    document = json.loads(headstart(*words, "--json").stdout)
    assert document["heads"][0]["verdict"] == "best"
    assert "--folds 3" in document["provenance"]["command"]
    words += ["--heads", "knn", "--seed", "1"]
    assert "written" in headstart(*words).stdout
    assert "written" in headstart(*words, "--force").stdout
    (tmp_path / "results" / "report.html").unlink()
    assert str(Path("results", "report.html")) in headstart("report", "results").stdout


ONCE = ("--folds", "3", "--repeats", "1")  # images are few, and would be divided ten times
CUT_SHORT = ["train-heads", "store.h5", "--out", "r", *ONCE, "--heads", "knn"]


@pytest.fixture(scope="module")
def trained(embedded, tmp_path_factory):
    """The small store's folder with results in it, trained once."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(embedded, folder, dirs_exist_ok=True)
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        assert run(CUT_SHORT) == 0
    return folder


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.onnx", "report.html", "plots/heads.svg", "duplicates.csv"])
def test_a_result_that_was_cut_short_is_not_up_to_date(headstart, trained, tmp_path, name):
    """The message about a damaged model advises this command, so it has to help."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "r" / name
    path.write_bytes(path.read_bytes()[:-20])
    if name == "model.onnx":
        assert "headstart train-heads" in headstart("predict", "r", "photos", code=1).stderr
    assert "up to date" not in headstart(*CUT_SHORT).stdout
    headstart("predict", "r", "photos")
    assert "up to date" in headstart(*CUT_SHORT).stdout


def test_results_are_not_written_among_the_images(headstart, features, tmp_path):
    before = contents(tmp_path / "photos")
    refused = headstart("train-heads", features, "--out", "photos", "--heads", "knn", code=1)
    assert "photos holds the images" in refused.stderr
    assert contents(tmp_path / "photos") == before


def test_the_names_of_all_heads_are_printed(headstart):
    assert headstart("train-heads", "--list-heads").stdout == ",".join(default_heads()) + "\n"


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


@pytest.mark.slow
def test_train_heads_compares_backbones(headstart, two_stores, tmp_path):
    words = ["train-heads", *two_stores, "--out", "both", "--heads", "knn,linear-svm"]
    done = headstart(*words, *ONCE)
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
    assert "nothing to do" in headstart(*words, *ONCE).stdout


@pytest.mark.slow
def test_labels_of_any_script_are_the_same_everywhere(
    headstart, image_folder, tiny_backbone, tmp_path
):
    names = ["كلب", "שלום", "猫と犬", "🦄🏳️‍🌈", "e\u0301te\u0301", "=1+1"]
    root = image_folder("photos", classes=names, per_class=4)
    names[4] = "\u00e9t\u00e9"  # the form of all class names
    headstart("features", root, "--backbone", tiny_backbone, "--out", "s.h5")
    words = ["train-heads", "s.h5", "--out", "r", "--heads", "knn", *ONCE]
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


@pytest.mark.slow
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
    assert "name each store once" in done.stderr
    (tmp_path / "copy.h5").write_bytes(features.read_bytes())
    done = headstart("train-heads", features, "copy.h5", "--out", "results", code=1)
    assert "stores 1 and 2 have the same backbone and preprocessing (tiny)" in done.stderr
    assert not (tmp_path / "results").exists() or not any((tmp_path / "results").iterdir())


@pytest.mark.slow
def test_train_heads_keeps_groups_together(headstart, features, tmp_path):
    photos = sorted((tmp_path / "photos" / "train" / "bark").iterdir())
    table = tmp_path / "groups.csv"
    names = [path.relative_to(tmp_path / "photos").as_posix() for path in photos[:2]]
    names.append(names[0].replace("train/", "test/"))
    table.write_text("path,group\n" + "".join(f"{name},tree\n" for name in names))
    words = ["train-heads", features, "--out", "results", "--heads", "knn", "--groups", table]
    words += ONCE
    done = headstart(*words)
    assert "1 test image" in done.stdout
    assert "groups" in done.stdout
    assert "nothing to do" in headstart(*words).stdout
    table.write_text("path,group\nelsewhere.jpg,tree\n")
    assert "the groups name none of the images" in headstart(*words, code=1).stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--validation", "predefined"], "no split named validation"),
        (["--small-classes", "error", "--folds", "7"], "bark, cloth have fewer than 7 training"),
        (["--validation", "predefined", "--repeats", "2"], "either --repeats or"),
        (["--groups", "absent.csv"], "cannot read absent.csv"),
        (["--heads", "rfb-svm"], "did you mean rbf-svm"),
        (["--out", "store.h5"], "cannot write store.h5"),
    ],
)
def test_train_heads_refuses_before_it_trains(headstart, features, words, text):
    done = headstart("train-heads", features, "--out", "results", *words, code=1)
    assert text in done.stderr
    assert "cross-validation" not in done.stderr


@pytest.mark.further("tests/unit/report/test_projection.py::test_the_first_axes_alone")
@pytest.mark.slow
def test_the_map_is_made_as_asked_for(headstart, features, tmp_path):
    said = [("", "PCA, then t-SNE"), ("--map=pca", "the first two axes of PCA")]
    for option, words in said:  # the second time the results are up to date, the page is not
        headstart("train-heads", features, "--out", "r", "--heads=knn", *filter(None, [option]))
        assert words in (tmp_path / "r" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_mean_of_heads_ships_and_predicts(headstart, features, tmp_path, monkeypatch):
    words = ["train-heads", features, "--out", "r", *ONCE, "--heads"]
    refused = headstart(*words, "knn,mean-of-heads", code=1)
    assert "two or more" in refused.stderr
    monkeypatch.setattr(training, "rank", lambda entry: entry.head.name != MEAN)
    headstart(
        *words,
        "logistic-regression,rbf-svm,knn,mean-of-heads",
        "--save-head",
        "joblib",
        "--allow-pickle",
    )
    results = json.loads((tmp_path / "r" / "results.json").read_text())
    assert results["best"] == MEAN
    assert "mean of the heads" in (tmp_path / "r" / "MODEL_CARD.md").read_text()
    assert "mean of the heads" in (tmp_path / "r" / "report.html").read_text()
    photos = tmp_path / "photos" / "test"
    rows = csv.DictReader(io.StringIO(headstart("predict", "r", photos).stdout))
    with (tmp_path / "r" / "predictions.csv").open(newline="") as file:
        expected = {Path(row["path"]).relative_to("test"): row for row in csv.DictReader(file)}
    for row in rows:
        assert row["label"] == expected[Path(row["path"]).relative_to(photos)]["predicted"]


@pytest.mark.slow
def test_costs_are_in_the_results_and_the_report(headstart, features, tmp_path):
    words = ["train-heads", features, "--out", "r", *ONCE, "--heads", "knn"]
    table = tmp_path / "costs.csv"
    table.write_text("true,bark,cloth\nbark,0,5\n")
    assert "no row" in headstart(*words, "--costs", table, code=1).stderr
    table.write_text("true,bark,cloth\nbark,0,5\ncloth,1,0\n")
    done = headstart(*words, "--costs", table)
    assert "mean cost of an image" in done.stdout
    costs = json.loads((tmp_path / "r" / "results.json").read_text())["insights"]["costs"]
    assert costs["saved"] == pytest.approx(costs["cost"] - costs["decided"])
    assert "Costs of errors" in (tmp_path / "r" / "report.html").read_text()
    assert "## Costs" in (tmp_path / "r" / "MODEL_CARD.md").read_text()
    table.write_text("true,bark,cloth\nbark,0,9\ncloth,1,0\n")
    assert "written" in headstart(*words, "--costs", table).stdout


@pytest.mark.slow
def test_an_ignored_remark_is_in_no_output(headstart, features, tmp_path):
    with h5py.File(features) as file:
        (tmp_path / "groups.csv").write_text(f"path,group\n{file['path'][0].decode()},a\n")
    words = ["train-heads", features, "--heads", "knn", *ONCE, "--groups", "groups.csv"]
    for shown, more in ((True, []), (False, ["--ignore", "HS402"])):
        out = tmp_path / f"results-{shown}"
        done = headstart(*words, "--out", out, *more)
        assert ("remark HS402: " in done.stdout) is shown
        results = json.loads((out / "results.json").read_text())
        assert ("HS402" in {warning["code"] for warning in results["warnings"]}) is shown
        assert ("HS402: Images in no group" in (out / "report.html").read_text()) is shown
        assert ("are in no group" in (out / "MODEL_CARD.md").read_text()) is shown
