"""Whether a source would be listed as before, without listing it."""

from __future__ import annotations

import pytest
from headstart.datasets import open_source, origins, unchanged
from image_files import photo, plant, tar


@pytest.fixture
def settled(monkeypatch):
    """Let files that were written a moment ago count as old."""
    monkeypatch.setattr(origins, "_TICK", -(10**10))


@pytest.fixture
def photos(tmp_path):
    return plant(tmp_path / "photos", "cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "empty/notes.txt")


def change(photos, what):
    if what == "image added":
        plant(photos, "cat/3.jpg")
    elif what == "image gone":
        (photos / "cat/1.jpg").unlink()
    elif what == "image renamed":
        (photos / "cat/1.jpg").rename(photos / "cat/9.jpg")
    elif what == "image in a folder without images":
        plant(photos, "empty/1.jpg")
    elif what == "class added":
        plant(photos, "bird/1.jpg")
    else:
        (photos / "dog").rename(photos / "wolf")


@pytest.mark.parametrize(
    "what",
    [
        *("image added", "image gone", "image renamed", "image in a folder without images"),
        *("class added", "class renamed"),
    ],
)
def test_a_folder_that_changes_is_noticed(what, photos, settled):
    listing = open_source(photos)
    assert unchanged(listing)
    change(photos, what)
    assert not unchanged(listing)


def test_a_folder_that_has_just_been_written_is_not_trusted(photos):
    assert not unchanged(open_source(photos))


def test_a_link_that_leads_nowhere_may_lead_somewhere_later(photos, settled):
    (photos / "cat/3.jpg").symlink_to(photos.parent / "3.jpg")
    assert not unchanged(open_source(photos))


@pytest.mark.parametrize("name", ["photos/metadata.csv", "list.csv"])
def test_a_table_that_changes_is_noticed(name, photos, settled):
    table = photos.parent / name
    prefix = "" if table.parent == photos else "photos/"
    table.write_text(f"file_name,label\n{prefix}cat/1.jpg,x\n")
    listing = open_source(table if prefix else photos)
    assert unchanged(listing)
    table.write_text(f"file_name,label\n{prefix}cat/1.jpg,y\n")
    assert not unchanged(listing)


def test_a_source_of_unknown_origin_is_not_trusted(tmp_path, settled):
    files = {"cat/1.jpg": photo(1, 4), "dog/2.jpg": photo(2, 4)}
    assert not unchanged(open_source(tar(tmp_path / "x.tar", files)))
