"""The levels of the tests: what is left out of one is left out soundly, and guarded by others."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
NOT_IN_TEST = {"further", "long", "breadth"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def marks(node: ast.FunctionDef | ast.ClassDef) -> set[str]:
    text = [ast.unparse(decorator).partition("(")[0] for decorator in node.decorator_list]
    return {name.removeprefix("pytest.mark.") for name in text}


def guards(path: Path) -> Iterator[str]:
    """Yield the names of tests that marks `further` of a file give."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.further":
            yield node.args[0].value


def run_by_make_test(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ClassDef) and marks(node) & NOT_IN_TEST:
            names -= {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
        elif isinstance(node, ast.FunctionDef) and not marks(node) & NOT_IN_TEST:
            names.add(node.name)
    return names


def test_what_only_the_longest_level_runs_is_guarded_by_a_test_of_every_run():
    files = [
        path
        for path in TESTS.rglob("test_*.py")
        if "mark.further(" in path.read_text(encoding="utf-8")
    ]
    assert len(files) > 10
    for path in files:
        for guard in guards(path):
            file, _, name = guard.rpartition("::")
            assert name in run_by_make_test(TESTS.parent / file if file else path), guard


def test_the_files_that_are_put_in_order_exist():
    """By their names, two processes share the tests: those of a removed file would mean nothing."""
    names = [
        node.value
        for node in ast.walk(tree(TESTS / "conftest.py"))
        if isinstance(node, ast.Constant) and str(node.value).startswith("tests/")
    ]
    assert len(names) > 20
    assert [name for name in names if not (TESTS.parent / name).exists()] == []


LEVEL = """
import pytest

@pytest.mark.cases(2)
@pytest.mark.parametrize("number", range(5))
def test_cases(number):
    pass

@pytest.mark.further("test_cases")
def test_further():
    pass
"""
HALF = '''
"""
>>> 1 + 1
2
"""
before = 1
import torch
after = 2
'''


@pytest.mark.process
def test_a_level_takes_its_tests_and_leaves_no_half_imported_module(tmp_path):
    """A module that is refused a library is refused it again by whoever imports it next."""
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "conftest.py").write_text((TESTS / "conftest.py").read_text(encoding="utf-8"))
    (tests / "test_it.py").write_text(LEVEL)
    (tests / "test_use.py").write_text("def test_use():\n    import half\n    half.after\n")
    (tmp_path / "half.py").write_text(HALF)
    (tmp_path / "torch.py").touch()
    (tmp_path / "pytest.ini").write_text(
        f"[pytest]\npythonpath = . {TESTS}\nmarkers =\n  cases\n  further\n"
        "addopts = --doctest-modules --import-mode=importlib"
    )
    for level, outcome in (("quick", "2 passed, 2 skipped, 4 deselected"), ("all", "8 passed")):
        command = [sys.executable, "-m", "pytest", "-q", "--level", level]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.stdout.splitlines()[-1].startswith(outcome), done.stdout
