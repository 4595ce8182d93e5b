"""``headstart verify``."""

import base64
import json

import h5py
import numpy as np
from headstart.features import store


def test_verify_names_defects(headstart, features):
    assert "sound" in headstart("verify", features).stdout
    with h5py.File(features, "r+") as file:
        file["features"][0, 0] = np.nan
    done = headstart("verify", features, code=1)
    assert "not finite" in done.stdout
    assert "checksum" in done.stdout


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
    assert "removed 1 rows: features" in done.stdout
    assert "sound" in done.stdout
    assert (tmp_path / "store.h5.damaged").exists()
    document = json.loads(headstart("verify", features, "--repair", "--json").stdout)
    assert (document["sound"], document["defects"]) == (True, [])
    words = ["features", tmp_path / "photos", "--backbone", tiny_backbone, "--out", features]
    assert json.loads(headstart(*words, "--json").stdout)["embedded"] == 1
    assert store.read(features).features.tobytes() == sound.features.tobytes()
    assert "--repair is for stores" in headstart("verify", "x.onnx", "--repair", code=2).stderr


def test_verify_makes_the_certificate_s_features_again(headstart, features, tmp_path):
    assert "the same features" in headstart("verify", features).stdout
    with h5py.File(features, "r+") as file:
        held = json.loads(file.attrs["certificate"])
        values = np.frombuffer(base64.b64decode(held["features"]), "<f4")
        held["features"] = base64.b64encode(values[::-1].tobytes()).decode()
        file.attrs["certificate"] = json.dumps(held)
    assert "differ from the exporter's" in headstart("verify", features, code=1).stderr
    with h5py.File(features, "r+") as file:
        file.attrs["certificate"] = ""
    assert "no certificate" in headstart("verify", features).stdout


def test_verify_checks_models_too(headstart, tiny_backbone, tiny_classifier, tmp_path):
    for path in (tiny_backbone, tiny_classifier):
        done = headstart("verify", path)
        assert "the same features" in done.stdout
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
