"""The seal of a classifier file: each kind of bad file gets its own line."""

import re

import onnx
import pytest
from headstart.core.errors import BackboneError
from headstart.models import seal
from headstart.models.predict import Model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def test_a_whole_file_passes(tiny_classifier):
    seal.check(tiny_classifier)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_is_noticed(tiny_classifier, tmp_path, data):
    content = bytearray(tiny_classifier.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    (tmp_path / "altered.onnx").write_bytes(content)
    with pytest.raises(BackboneError):
        seal.check(tmp_path / "altered.onnx")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file(tiny_classifier, tmp_path, share):
    content = tiny_classifier.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[: int(share * len(content))])
    with pytest.raises(BackboneError, match=r"cut.onnx is not a classifier .* incomplete"):
        Model(tmp_path / "cut.onnx")


def test_an_edited_file(tiny_classifier, tmp_path):
    model = onnx.load(tiny_classifier)
    model.graph.name = "mine"
    onnx.save(model, tmp_path / "edited.onnx")
    with pytest.raises(BackboneError, match="do not match their digest"):
        Model(tmp_path / "edited.onnx")


def test_a_newer_schema(tiny_classifier, tmp_path):
    content = tiny_classifier.read_bytes()
    newer = re.sub(rb"headstart-model/1/", b"headstart-model/2/", content)
    (tmp_path / "newer.onnx").write_bytes(newer)
    with pytest.raises(BackboneError, match=r"newer Headstart \(schema 2, .*update Headstart"):
        Model(tmp_path / "newer.onnx")


def test_a_file_without_a_blank_seal_cannot_be_sealed(tmp_path):
    (tmp_path / "x").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no seal"):
        seal.seal(tmp_path / "x")
