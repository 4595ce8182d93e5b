"""``headstart backbones`` and ``export``, and what a backbone's name leads to."""

import json

import pytest


@pytest.mark.slow
def test_backbones_lists_the_embedded_one(headstart):
    assert "efficientnet-lite0" in headstart("backbones").stdout
    document = json.loads(headstart("backbones", "--json").stdout)
    assert document["backbones"][0]["name"] == "efficientnet-lite0"
    assert document["backbones"][0]["at_hand"] is True


@pytest.mark.slow
def test_the_list_begins_with_what_is_at_hand(headstart):
    lines = headstart("backbones").stdout.splitlines()
    assert "efficientnet-lite0" in lines[3]
    assert "at hand" in lines[3]
    assert "search with: headstart backbones QUERY" in lines[-1]
    assert len(lines) < 60


def test_a_search_as_json(headstart):
    found = json.loads(headstart("backbones", "resnet50", "V2", "--json").stdout)["backbones"]
    (row,) = [one for one in found if one["name"] == "torchvision:resnet50@IMAGENET1K_V2"]
    assert row["architecture"] == "resnet50"
    assert (row["accuracy"], row["features"], row["size"]) == (80.858, 2048, [224, 224])
    assert row["at_hand"] is False
    assert all("v2" in one["name"].lower() for one in found)


@pytest.mark.slow
def test_layers_with_their_shapes(headstart):
    name = "torchvision:resnet18"
    text = headstart("backbones", name, "--layers").stdout
    assert any(line.split()[:6] == "layer3 256 × 14 × 14".split() for line in text.splitlines())
    marks = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "default" in marks["pre-logits"]
    assert all("worth trying" in marks[f"layer{number}"] for number in (1, 2, 3, 4))
    assert "more; see them with: --all" in text
    assert "more;" not in headstart("backbones", name, "--layers", "--all").stdout
    document = json.loads(headstart("backbones", name, "--layers", "--json").stdout)
    assert ("layer3", [256, 14, 14]) in [(row["name"], row["shape"]) for row in document["layers"]]
    assert document["default"] == "pre-logits"
    assert document["worth_trying"][0] == "layer4"


@pytest.mark.slow
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
def test_what_goes_wrong_is_one_line(headstart, monkeypatch, tmp_path, words, said):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing leaves this machine
    assert said in headstart(*words, code=1).stderr
    assert not (tmp_path / "x.onnx").exists()


def test_a_file_is_exported_already(headstart, tiny_backbone, image_folder):
    words = ["features", image_folder(), "--backbone", tiny_backbone, "--out", "s.h5"]
    said = headstart(*words, "--layer", "conv", code=1).stderr
    assert "is exported already" in said


@pytest.mark.long
def test_random_weights_are_marked_from_features_to_predictions(
    headstart, image_folder, tmp_path, monkeypatch
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
    assert mark in results["warnings"][0]["text"]
    backbone = results["extraction"]["document"]["backbone"]
    assert (backbone["layer"], backbone["pool"]) == ("blocks.0", "max")
    assert mark in (tmp_path / "r/report.html").read_text()
    assert mark in headstart("predict", "r/model.onnx", root).stderr
    assert "sound" in headstart("verify", "s.h5").stdout
    said = headstart("features", root, *words, "--pool", "avg", "--out", "s.h5", code=1).stderr
    assert "backbone.pool: max there, avg now" in said
