"""``headstart verify``."""

import base64
import json
import re
import shlex

import h5py
import numpy as np
import pytest
from headstart.features import store
from headstart.features.store.layout import RECORDS

# Damaged files in a process of their own: tests/unit/features/store/test_sandboxed.py.
pytestmark = pytest.mark.usefixtures("no_sandbox")


def test_verify_names_defects(headstart, features):
    assert "sound" in headstart("verify", features).stdout
    with h5py.File(features, "r+") as file:
        file["features"][0, 0] = np.nan
    done = headstart("verify", features, code=1)
    assert "not finite" in done.stdout
    assert "checksum" in done.stdout


@pytest.mark.slow
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
    assert "removed 1 row: features" in done.stdout
    assert "sound" in done.stdout
    assert (tmp_path / "store.h5.damaged").exists()
    document = json.loads(headstart("verify", features, "--repair", "--json").stdout)
    assert (document["sound"], document["defects"]) == (True, [])
    words = ["features", tmp_path / "photos", "--backbone", tiny_backbone, "--out", features]
    assert json.loads(headstart(*words, "--json").stdout)["embedded"] == 1
    assert store.read(features).features.tobytes() == sound.features.tobytes()
    assert "--repair is for stores" in headstart("verify", "x.onnx", "--repair", code=2).stderr


def change_certificate(path, value, *, older=False):
    """Put another certificate into a store; ``older``: as if the store had no checksum of it."""
    with h5py.File(path, "r+") as file:
        if older:
            sums = json.loads(file.attrs["checksums"])
            file.attrs["checksums"] = json.dumps(
                {name: total for name, total in sums.items() if name not in RECORDS}
            )
        file.attrs["certificate"] = value


def other_features(path):
    with h5py.File(path) as file:
        document = json.loads(file.attrs["certificate"])
    values = np.frombuffer(base64.b64decode(document["features"]), "<f4")
    return json.dumps(document | {"features": base64.b64encode(values[::-1].tobytes()).decode()})


def test_verify_makes_the_certificate_s_features_again(headstart, features, tmp_path):
    assert "the same features" in headstart("verify", features).stdout
    change_certificate(features, other_features(features), older=True)
    assert "differ from the exporter's" in headstart("verify", features, code=1).stderr
    change_certificate(features, "", older=True)
    assert "no certificate" in headstart("verify", features).stdout


@pytest.mark.cases(3)
@pytest.mark.slow
@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("value", ["other", "{}", "no JSON", "\udcff"], ids=ascii)
def test_repair_never_keeps_a_certificate_that_nothing_confirms(headstart, features, value, older):
    changed = other_features(features) if value == "other" else value
    if value == "\udcff":
        changed = np.bytes_(b"{\xff}")
    change_certificate(features, changed, older=older)
    with features.open("ab") as file:  # so that there is something to repair
        file.write(b"HSSEAL01" + bytes(40))
    done = headstart("verify", features, "--repair")
    assert "replaced by the network's own" in done.stdout
    assert "the same features" in headstart("verify", features).stdout


@pytest.mark.slow
def test_repair_leaves_a_certificate_out_where_the_network_is_gone(
    headstart, image_folder, tiny_backbone, tmp_path
):
    backbone = tmp_path / "gone.onnx"
    backbone.write_bytes(tiny_backbone.read_bytes())
    headstart("features", image_folder(), "--backbone", backbone, "--out", "s.h5")
    backbone.unlink()
    change_certificate(tmp_path / "s.h5", "{}")
    assert "certificate does not match" in headstart("verify", "s.h5", code=1).stdout
    assert "is left out" in headstart("verify", "s.h5", "--repair").stdout
    assert "no certificate" in headstart("verify", "s.h5").stdout


@pytest.mark.slow
def test_a_flipped_bit_in_the_record_of_the_run_is_not_sealed_again(headstart, features):
    data = bytearray(features.read_bytes())
    place = data.find(b'"created_by"') if b'"created_by"' in data else data.find(b'"model": "')
    data[place + 12] ^= 0x02
    features.write_bytes(data)
    done = headstart("verify", features, "--repair")
    assert "record of the run" in done.stdout
    headstart("verify", features)


class TestAdviceIsNoCircle:
    """Every command that a message advises is run in that very state."""

    def advised(self, headstart, *words):
        """Return what the advised command does."""
        line = headstart(*words, code=1).stderr.splitlines()[-1]
        command = re.search(r"with: headstart (verify --repair \S+?)(,|;|$)", line)
        return shlex.split(command[1]) if command else None

    @pytest.mark.slow
    def test_a_store_that_was_cut_short_is_repaired(self, headstart, features, tmp_path):
        whole = features.read_bytes()
        for words in (["verify"], ["train-heads", "--out", "r"]):
            features.write_bytes(whole[: int(0.97 * len(whole))])
            words.insert(1, str(features))
            headstart(*self.advised(headstart, *words))
            headstart("verify", features)

    @pytest.mark.slow
    def test_a_store_without_its_first_byte_is_repaired(self, headstart, features):
        features.write_bytes(b"X" + features.read_bytes()[1:])
        headstart(*self.advised(headstart, "verify", features))
        headstart("verify", features)

    @pytest.mark.parametrize("kind", ["text", "empty", "another HDF5 file"])
    def test_what_is_no_store_gets_no_such_advice(self, headstart, tmp_path, image_folder, kind):
        path = tmp_path / "x.h5"
        path.write_bytes(b"" if kind == "empty" else b"a text\n" * 100)
        if kind == "another HDF5 file":
            path.unlink()
            with h5py.File(path, "w") as file:
                file["weights"] = np.zeros(10)
        before = path.read_bytes()
        for words in (["verify", path], ["train-heads", path, "--out", "r"]):
            assert self.advised(headstart, *words) is None
        line = headstart("features", image_folder(), "--out", path, code=1).stderr.splitlines()[-1]
        assert "--repair" not in line
        assert path.read_bytes() == before

    def test_a_store_of_another_version_is_not_repaired(self, headstart, features):
        with h5py.File(features, "r+") as file:
            file.attrs["version"] = 99
        assert self.advised(headstart, "verify", features) is None


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


@pytest.mark.slow
def test_verify_without_the_backbone_says_so(headstart, image_folder, tiny_backbone, tmp_path):
    backbone = tmp_path / "gone.onnx"
    backbone.write_bytes(tiny_backbone.read_bytes())
    words = ["--backbone", backbone, "--out", "store.h5"]
    headstart("features", image_folder(tmp_path / "photos"), *words)
    backbone.unlink()
    done = headstart("verify", "store.h5")
    assert "were not compared" in done.stdout
    assert "sound" in done.stdout
