"""What a writer would go on with, without opening anything for writing."""

from headstart.features.store import stored_extraction
from headstart.features.store.writer import StoreWriter


def test_nothing_is_held_where_there_is_nothing(tmp_path):
    assert stored_extraction(tmp_path / "none.h5") is None


def test_a_journal_tells_its_extraction(tmp_path, build):
    extraction = build.extraction()
    path = tmp_path / "store.h5"
    journal = path.with_name("store.h5.journal")
    with StoreWriter(path, extraction):
        held = stored_extraction(path)
        whole = journal.read_bytes()
    assert held is not None
    assert held["backbone"]["name"] == extraction.backbone.name
    for damaged in (whole[:7], whole[:40], whole[:30] + b"?" + whole[31:], b""):
        journal.write_bytes(damaged)
        assert stored_extraction(path) is None


def test_what_is_no_store_holds_nothing(tmp_path):
    path = tmp_path / "store.h5"
    path.write_bytes(b"no store at all")
    assert stored_extraction(path) is None
