"""``headstart features``."""

import json

import onnx
import pytest
from headstart.backbones.inference.description import METADATA
from headstart.datasets.images import thumbnails
from headstart.features import store


@pytest.mark.slow
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


@pytest.mark.slow
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
        "not a JPEG, PNG, WebP, AVIF, BMP, TIFF or GIF image, but text",
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


@pytest.mark.slow
def test_features_says_what_it_read_and_asks_when_in_doubt(
    headstart, image_folder, tiny_backbone, tmp_path
):
    root = image_folder(tmp_path / "photos")
    words = ["--backbone", tiny_backbone, "--out", "store.h5"]
    said = headstart("features", root, *words).stderr
    assert "24 images in 2 classes" in said
    assert all(len(line) <= 80 for line in said.splitlines()[1:])
    one = root / "train"
    for folder in sorted(one.iterdir())[1:]:
        folder.rename(tmp_path / folder.name)
    failed = headstart("features", one, "--backbone", tiny_backbone, "--out", "one.h5", code=1)
    assert "--no-labels" in failed.stderr
    assert not (tmp_path / "one.h5").exists()
    done = headstart("features", one, "--backbone", tiny_backbone, "--out", "one.h5", "--no-labels")
    assert "rows, written" in done.stdout
    refused = headstart("features", one, *words, "--no-labels", code=1)
    assert "--replace" in refused.stderr
    done = headstart("features", one, *words, "--no-labels", "--replace")
    assert "18 rows of images that are not in the source were dropped" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("--engine", "threads")], ids=["file", "folder"])
def test_pictures_are_of_the_files_below_folders_that_hold_everything(
    headstart, image_folder, tiny_backbone, tmp_path, words
):
    image_folder(tmp_path / "photos" / "archive" / "data", per_class=2)
    headstart("features", "photos", "--backbone", tiny_backbone, "--out", "store", *words)
    data = store.read(tmp_path / "store")
    assert not data.path[0].startswith("archive")
    assert (thumbnails.folder(data) / data.path[0]).is_file()
