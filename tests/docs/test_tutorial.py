"""The tutorial runs as it stands, and its table has every public name."""

import re
import warnings
from pathlib import Path

import headstart as hs
import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # as in a process of its own
@pytest.mark.usefixtures("one_division")
def test_every_block_runs_in_order_in_one_folder(tmp_path, level, monkeypatch, capsys):
    """As it stands, but on a third of the images except at the level ``all``."""
    blocks = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.S)
    assert {kind for kind, _ in blocks} == {"python"}
    code = "\n".join(body for _, body in blocks)
    if level != "all":
        assert "per_class=12" in code
        code = code.replace("per_class=12", "per_class=4")
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(record=True) as warned:
        exec(code, {"__name__": "__main__"})
    out, err = capsys.readouterr()
    count = 120 if level == "all" else 40
    assert f"{count} images, {count} embedded now" in out
    assert "logistic-regression" in out
    assert (tmp_path / "results" / "report.html").is_file()
    assert [str(warning.message) for warning in warned] == []
    assert err == ""


def test_the_table_has_every_name():
    table = TEXT[TEXT.index("## The names") :]
    assert set(hs.__all__) <= set(re.findall(r"`(\w+)", table))
