"""``headstart demo-data``."""


def test_demo_data_is_written_once(headstart, tmp_path):
    first = headstart("demo-data", "demo", "--per-class", 4)
    assert "40 images of 10 classes written" in first.stdout
    before = sorted((p, p.stat().st_mtime_ns) for p in (tmp_path / "demo").rglob("*"))
    second = headstart("demo-data", "demo", "--per-class", 4)
    assert "nothing to do" in second.stdout
    assert sorted((p, p.stat().st_mtime_ns) for p in (tmp_path / "demo").rglob("*")) == before
    (tmp_path / "demo" / "dataset.json").unlink()
    assert "choose another" in headstart("demo-data", "demo", code=1).stderr
