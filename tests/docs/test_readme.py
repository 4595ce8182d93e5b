"""The README's commands are run as they stand, and what it names exists."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from headstart.cli import cli, run

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # as in a process of their own
@pytest.mark.usefixtures("one_division")
def test_the_commands_run_in_order(tmp_path, level, monkeypatch, capsys):
    """As they stand, but on fewer images than at the level ``all``."""
    commands = re.findall(r"^\$ (headstart .*)$", README, flags=re.MULTILINE)
    assert len(commands) >= 8
    monkeypatch.chdir(tmp_path)
    for line in commands:
        words = shlex.split(line)[1:]
        if words[0] == "demo-data" and level != "all":
            words += ["--per-class", "4"]
        assert run(words) == 0, f"{line}: {capsys.readouterr().err}"
    for name in ("results.json", "report.html", "predictions.csv", "model.onnx"):
        assert (tmp_path / "results" / name).is_file()
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    capsys.readouterr()
    exec(code, {})
    assert "logistic-regression" in capsys.readouterr().out


@pytest.mark.slow
def test_the_make_targets_exist():
    targets = set(re.findall(r"\bmake ([a-z][a-z-]+)", README))
    assert {"train-heads", "test", "bench"} <= targets
    for target in targets:
        done = subprocess.run(["make", "-n", target], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr


@pytest.mark.cases(2)
@pytest.mark.slow
@pytest.mark.parametrize(
    "data", ["/data/My Photos/cats & dogs", "it's here/", "plain", 'a "b" $$HOME;x/y z']
)
def test_a_folder_may_have_any_name(data):
    words = ["make", "-n", "train-heads", f"DATA={data}"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True)
    lines = [shlex.split(line) for line in done.stdout.splitlines() if "bin/headstart " in line]
    (features,) = (words for words in lines if "features" in words)
    (heads,) = (words for words in lines if "train-heads" in words)
    folder = data.replace("$$", "$")
    assert features[features.index("features") + 1] == folder
    assert heads[heads.index("--out") + 1] == f"out/{Path(folder).name}"


@pytest.mark.slow
def test_every_make_target_is_in_its_help():
    makefile = (ROOT / "Makefile").read_text()
    said = subprocess.run(["make", "help"], capture_output=True, text=True, cwd=ROOT).stdout
    for target in re.findall(r"^([a-z-]+):.*##", makefile, flags=re.MULTILINE):
        assert f"make {target}" in said


def test_links_and_pictures_are_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).is_file(), target


def test_the_commands_of_the_table_are_the_commands_there_are():
    for name in re.findall(r"`headstart ([a-z-]+)`", README):
        assert name in cli.list_commands(None)
