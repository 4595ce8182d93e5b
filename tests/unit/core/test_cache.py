"""The cache folder, and what takes its place where it cannot be written."""

import warnings
from pathlib import Path

import pytest
from headstart.core.cache import CacheWarning, cached_file


def test_a_file_has_one_place(fresh_cache_home):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = cached_file("backbones", "a.onnx")
    assert path.parent.is_dir()
    assert path.is_relative_to(fresh_cache_home)


def test_a_cache_that_cannot_be_written_is_replaced_and_named_once(tmp_path, monkeypatch):
    home = tmp_path / "file"
    home.write_text("no folder can be made here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    with pytest.warns(CacheWarning, match="XDG_CACHE_HOME") as caught:
        first, second = (cached_file("backbones", "a.onnx") for _ in range(2))
    assert first == second
    assert not first.is_relative_to(home)
    first.write_text("it can be written")
    assert len(caught) == 1


def test_what_a_read_only_cache_has_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = cached_file("backbones", "a.onnx")
    path.write_text("exported before")

    def refuse(folder: Path) -> None:
        raise AssertionError("nothing is written")

    monkeypatch.setattr("headstart.core.cache.make_folder", refuse)
    assert cached_file("backbones", "a.onnx") == path
