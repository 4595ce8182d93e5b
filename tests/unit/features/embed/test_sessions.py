"""How many onnxruntime sessions a run opens: one, and none where there is nothing to embed."""

from __future__ import annotations

import json

import h5py
import onnxruntime
import pytest
from headstart.features.embed import EmbedConfig, embed


@pytest.fixture
def sessions(monkeypatch) -> list[object]:
    """Give the list that every session adds itself to when it opens."""
    opened: list[object] = []
    original = onnxruntime.InferenceSession

    def count(*arguments, **options):
        opened.append(original(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(onnxruntime, "InferenceSession", count)
    return opened


def test_a_run_opens_one_session_and_one_without_new_images_none(
    tiny_backbone, image_folder, tmp_path, sessions
):
    folder = image_folder()
    config, out = EmbedConfig(str(tiny_backbone), workers=2), tmp_path / "s.h5"
    assert embed(str(folder), out, config).embedded > 0
    assert len(sessions) == 1
    again = embed(str(folder), out, config)
    assert (again.embedded, again.changed) == (0, False)
    assert len(sessions) == 1


@pytest.mark.slow
def test_images_that_are_gone_are_taken_out_without_a_session(
    tiny_backbone, image_folder, tmp_path, sessions
):
    folder = image_folder()
    config, out = EmbedConfig(str(tiny_backbone)), tmp_path / "s.h5"
    rows = embed(str(folder), out, config).rows
    next(path for path in sorted(folder.rglob("*")) if path.is_file()).unlink()
    summary = embed(str(folder), out, config)
    assert (summary.rows, summary.changed) == (rows - 1, True)
    assert len(sessions) == 1
    with h5py.File(out) as file:
        run = json.loads(file.attrs["run"])
        assert (run["provider"], run["embedded"]) == ("CPUExecutionProvider", 0)
        assert json.loads(file.attrs["certificate"])["probes"]
