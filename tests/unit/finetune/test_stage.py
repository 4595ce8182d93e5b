"""The whole command on a few real images: what comes out goes through the same door."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from headstart.cli import cli
from headstart.core.errors import BackboneError
from headstart.core.records import Choice
from headstart.features.store import read
from headstart.finetune import FinetuneConfig, check_trainable
from headstart.models.predict import Model, predict


def test_an_onnx_file_is_refused_at_once_with_what_does_work():
    with pytest.raises(BackboneError, match=r"no training graph.*headstart train-heads"):
        check_trainable(Choice("b.onnx"), FinetuneConfig())


# A small one by default: an export takes half a minute otherwise.
SMALL = ("timm:test_resnet", "random")
NETWORKS = {
    "test": (SMALL, "layer3", "timm:test_resnet.r160_in1k+random+tuned"),
    "all": (("efficientnet-lite0", ""), "blocks.4", "efficientnet-lite0+tuned"),
}


@pytest.mark.slow
def test_what_comes_out_of_top_goes_through_the_same_door(image_folder, tmp_path, level):
    (network, weights), boundary, tuned_name = NETWORKS[level]
    folder, out = image_folder(splits=("train", "validation", "test")), tmp_path / "out"
    words = ["--views", "2", "--epochs", "1", "--batch-size", "6", "--lr", "1e-4"]
    words = ["finetune", str(folder), "--out", str(out), *words]
    words += ["--backbone", network, *(["--weights", weights] if weights else [])]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 0
    history = json.loads((out / "history.json").read_text())
    assert (history["boundary"], history["images"]["validation"]) == (boundary, 12)
    results = json.loads((out / "results.json").read_text())
    tuned = next(head for head in results["heads"] if head["name"] == "fine-tuned")
    assert tuned["backbone"] == tuned_name
    assert (out / "backbone.safetensors").is_file()
    test = read(out / "tuned.h5")
    rows = [row for row, split in enumerate(test.split) if split == "test"]
    model = Model(out / "model.onnx")
    paths = [str(folder / test.path[row]) for row in rows]
    found = [model.classes.index(one.label) for one in predict(model, paths)]
    accuracy = np.mean(np.array(found) == test.label[rows])
    assert accuracy == pytest.approx(tuned["test_accuracy"])
    fitted = [row for row, split in enumerate(test.split) if split != "test"]
    assert len(model.trained_on) == len(fitted)
    assert all(test.sha256[row].tobytes() in model.trained_on for row in fitted)
    operating = results["insights"]["operating_points"]
    assert (operating["head"], operating["images"]) == ("fine-tuned", 12)
    promised = [point["threshold"] for point in operating["points"] if point["reached"]]
    assert sorted(model.thresholds.values()) == sorted(promised)
    assert model.set_rule.mass == results["insights"]["prediction_sets"]["mass"]
    if level == "test":  # `test_training` goes on with each kind of run
        return
    again = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert "continuing after epoch 1" in again.stderr  # nothing is trained twice
    assert json.loads((out / "history.json").read_text())["epochs"] == history["epochs"]


@pytest.mark.slow
def test_groups_are_kept_whole_and_get_one_answer(image_folder, tmp_path):
    folder, out = image_folder(splits=("train", "validation", "test")), tmp_path / "out"
    words = ["finetune", str(folder), "--out", str(out), "--mode", "head", "--epochs", "1"]
    words += ["--views", "1", "--backbone", SMALL[0], "--weights", SMALL[1]]
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))

    def tune(size, *more):
        rows = (f"{name},{name.rpartition('/')[0]}-{n // size}" for n, name in enumerate(names))
        (tmp_path / "groups.csv").write_text("\n".join(["path,group", *rows]) + "\n")
        words_ = [*words, "--groups", str(tmp_path / "groups.csv"), *more]
        return CliRunner().invoke(cli, words_, catch_exceptions=False)

    done = tune(2, "--group-answer", "vote")
    assert done.exit_code == 0
    assert "one answer a group" in done.stdout
    groups = json.loads((out / "results.json").read_text())["insights"]["group_answers"]
    assert groups["answer"] == "vote"
    (row,) = [row for row in groups["scores"] if row["title"].startswith("fine-tuned")]
    low, high = row["accuracy_ci"]
    assert low <= row["accuracy"] <= high
    card = (out / "MODEL_CARD.md").read_text()
    assert f"is right for {row['accuracy']:.1%}" in card
    model = Model(out / "model.onnx")
    assert model.group_promises.answer == "vote"
    asked = ["predict", str(out), str(folder), "--groups", str(tmp_path / "groups.csv"), "--sets"]
    answers = CliRunner().invoke(cli, [*asked, "--group-answer", "vote"], catch_exceptions=False)
    assert answers.exit_code == 0
    assert len(answers.stdout.splitlines()) == 1 + len({*_groups(tmp_path / "groups.csv")})
    trained = json.loads((out / "history.json").read_text())["training"]
    assert tune(3).exit_code == 0  # other groups, another training, another answer
    assert json.loads((out / "history.json").read_text())["training"] != trained
    assert Model(out / "model.onnx").group_promises.answer == "mean"


def _groups(table):
    return [line.rpartition(",")[2] for line in table.read_text().splitlines()[1:]]
