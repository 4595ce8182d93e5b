"""The page of remarks says what the table in the package says."""

import re
from pathlib import Path

import pytest
from headstart.core.errors import UsageError
from headstart.core.remarks import KINDS, parse, remark, without

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "remarks.md"


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_page_has_every_kind_as_the_table_has_it(kind):
    section = f"### {kind.code}: {kind.title}\n\n{kind.meaning}\n\n{kind.advice}\n"
    assert section in PAGE.read_text(encoding="utf-8"), f"docs/remarks.md lacks:\n{section}"


def test_the_page_has_no_other_kind():
    codes = re.findall(r"^### (HS\d+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert codes == list(KINDS) == sorted(KINDS)


def test_every_remark_of_the_package_has_a_code():
    made = re.compile(r"\bRemark\(\s*[\"']")
    for file in (ROOT / "pipeline").rglob("*.py"):
        assert not made.search(file.read_text()), f"{file.name}: use core.remarks.remark"


def test_codes_are_read_in_any_form():
    assert parse(["hs201, HS101", "HS101"]) == ("HS101", "HS201")
    assert parse("HS301") == ("HS301",)
    assert parse(()) == ()
    with pytest.raises(UsageError, match="did you mean HS101"):
        parse("HS1O1")


def test_ignored_kinds_are_left_out():
    remarks = [remark("HS101", "a"), remark("HS201", "b")]
    assert [left.text for left in without(remarks, ["HS101"])] == ["b"]
