"""The page of remarks says what the table in the package says."""

import re
from pathlib import Path
from typing import get_type_hints

import pytest
from headstart.core.errors import UsageError
from headstart.core.label_results import LabelComparison
from headstart.core.remark_kinds import KINDS
from headstart.core.remarks import parse, remark, without
from headstart.core.results import Comparison, Remark
from headstart.evaluation.splits import Protocol

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "remarks.md"
TABLE = "core/remark_kinds/"


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_page_has_every_kind_as_the_table_has_it(kind):
    section = f"### {kind.code}: {kind.title}\n\n{kind.meaning}\n\n{kind.advice}\n"
    assert section in PAGE.read_text(encoding="utf-8"), f"docs/remarks.md lacks:\n{section}"


def test_the_page_has_no_other_kind():
    codes = re.findall(r"^### (HS\d+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert codes == list(KINDS) == sorted(KINDS)


def sources() -> dict[str, str]:
    files = (ROOT / "pipeline").rglob("*.py")
    return {
        file.relative_to(ROOT / "pipeline/headstart").as_posix(): file.read_text() for file in files
    }


def test_remarks_are_made_with_the_code_of_a_kind():
    """Only `remark` and the readers of former files may make one."""
    made = {name for name, text in sources().items() if re.search(r"(?<!class )\bRemark\(", text)}
    assert made == {"core/remarks.py", "finetune/training.py"}
    used = [
        re.findall(r'"(HS\d+)"', text)
        for name, text in sources().items()
        if not name.startswith(TABLE)
    ]
    assert {code for codes in used for code in codes} == set(KINDS)


@pytest.mark.parametrize("record", [Comparison, LabelComparison, Protocol])
def test_only_remarks_are_warnings(record):
    """The type checker holds whoever adds a warning to this."""
    assert get_type_hints(record)["warnings"] == list[Remark]


def test_codes_are_read_in_any_form():
    assert parse(["hs201, HS101", "HS101"]) == ("HS101", "HS201")
    assert parse("HS301") == ("HS301",)
    assert parse(()) == ()
    with pytest.raises(UsageError, match=r"did you mean .*HS101"):
        parse("HS1O1")


def test_ignored_kinds_are_left_out():
    remarks = [remark("HS101", "a"), remark("HS201", "b")]
    assert [left.text for left in without(remarks, ["HS101"])] == ["b"]
