"""Reading what an exported file says of itself, without onnxruntime."""

from __future__ import annotations

import dataclasses
import json
import os

import factories
import onnx
import pytest
from headstart.backbones.inference.description import (
    METADATA,
    describe,
    output_names,
    read_metadata,
)
from headstart.core.errors import BackboneError
from headstart.core.records import Part
from hypothesis import given
from hypothesis import strategies as st


def test_it_is_what_the_file_says(tiny_backbone, tiny_classifier):
    for path in (tiny_backbone, tiny_classifier):
        model = onnx.load(path)
        assert read_metadata(path) == {prop.key: prop.value for prop in model.metadata_props}
        assert describe(path).name == "tiny"


@pytest.mark.slow
@given(st.dictionaries(st.text(), st.text(max_size=300), max_size=6))
def test_any_text_is_read_as_it_was_written(tmp_path_factory, entries):
    path = tmp_path_factory.mktemp("any") / "a.onnx"
    model = onnx.ModelProto(ir_version=10, producer_name="x" * 200)
    model.graph.doc_string = "y" * 20_000
    onnx.helper.set_model_props(model, entries)
    path.write_bytes(model.SerializeToString())
    assert read_metadata(path) == entries


@pytest.mark.parametrize(
    "content", [b"", b"not ONNX", b"\x89HDF\r\n\x1a\n" + bytes(99), b"\xff" * 50]
)
def test_a_file_of_another_kind_describes_nothing(tmp_path, content):
    path = tmp_path / "a\nb.onnx"
    path.write_bytes(content)
    with pytest.raises(BackboneError, match="not a file that Headstart wrote") as caught:
        describe(path)
    assert str(caught.value).isprintable()


def test_a_file_that_is_cut_short_describes_nothing(tiny_backbone, tmp_path):
    data = tiny_backbone.read_bytes()
    path = tmp_path / "short.onnx"
    for length in range(0, len(data), len(data) // 50):
        path.write_bytes(data[:length])
        with pytest.raises(BackboneError, match="not a file that Headstart wrote"):
            describe(path)


@pytest.mark.parametrize("name", [".", "missing.onnx", "n" * 300, "a\0b"])
def test_what_is_no_file(tmp_path, name):
    with pytest.raises(BackboneError, match="no backbone file at"):
        describe(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_without_permission(tiny_backbone, tmp_path):
    path = tmp_path / "a.onnx"
    path.write_bytes(tiny_backbone.read_bytes())
    path.chmod(0)
    with pytest.raises(BackboneError, match=r"cannot read .*Permission"):
        describe(path)


def test_rules_of_decoding_of_another_version_are_refused(tmp_path):
    described = factories.backbone()
    newer = dataclasses.replace(described.preprocess, policy=described.preprocess.policy + 1)
    document = dataclasses.replace(described, preprocess=newer).to_json()
    model = onnx.ModelProto(ir_version=10)
    onnx.helper.set_model_props(model, {METADATA: json.dumps(document)})
    path = tmp_path / "a.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BackboneError, match="decoding rules"):
        describe(path)


def test_several_layers_are_outputs_of_their_own():
    single = factories.backbone()
    assert output_names(single) == ["features"]
    several = single.with_layers([Part("a", "avg", 2), Part("b", "max", 3)])
    assert output_names(several) == ["features/a", "features/b"]


def test_reading_it_loads_neither_onnx_nor_onnxruntime(tiny_backbone, fresh_python):
    script = """
        import json, sys
        from pathlib import Path
        from headstart.backbones.inference.description import describe
        name = describe(Path(sys.argv[1])).name
        print(json.dumps([name, sorted({"onnx", "onnxruntime", "torch"} & set(sys.modules))]))
    """
    assert fresh_python(script, tiny_backbone) == ["tiny", []]
