"""What every command does at its ends: errors, streams, verbosity, the log file, tables, help."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from headstart import cli as command_line
from headstart.cli import cli, console, help, interrupts
from headstart.cli.output import table
from headstart.features import store
from headstart.features.store import read_origin
from rich.console import Console

COMMANDS = cli.list_commands(None)
TITLES = {"name": "left", "a": "right", "b": "right", "verdict": "left"}
ROWS = [["timm:a_long_name_of_a_network.in1k", "1.0", "2.0", "best"]]


@pytest.fixture
def broken(monkeypatch):
    """Let ``headstart report`` fail in a way that nobody has thought of."""

    def fail(*words, **options):
        raise ZeroDivisionError("two\nlines")

    import headstart.cli.report

    monkeypatch.setattr(headstart.cli.report, "write_report", fail)


class TestAnErrorThatNobodyThoughtOf:
    def test_is_one_line(self, headstart, broken):
        done = headstart("report", "results", code=1)
        assert len(done.stderr.splitlines()) == 1
        assert "ZeroDivisionError: two\\nlines" in done.stderr
        assert "--debug" in done.stderr

    def test_has_its_traceback_with_debug(self, monkeypatch, broken, capsys):
        from headstart.cli import run

        assert run(["report", "results", "--debug"]) == 1
        err = capsys.readouterr().err
        assert "Traceback" in err
        assert err.splitlines()[-1].startswith("headstart: ")

    def test_has_its_traceback_in_the_log_file(self, headstart, broken, tmp_path):
        headstart("--log-file", "logs/run.log", "report", "results", code=1)
        log = (tmp_path / "logs" / "run.log").read_text()
        assert "headstart --log-file logs/run.log report results" in log
        assert "ZeroDivisionError" in log

    def test_a_session_does_not_outlive_its_command(self, headstart, broken):
        headstart("report", "results", "--log-file", "run.log", "-q", code=1)
        assert console.current() == console.Session(started=console.current().started)


def test_a_log_file_that_cannot_be_written_is_named(headstart, tmp_path):
    (tmp_path / "file").touch()
    done = headstart("backbones", "--log-file", "file/run.log", code=1)
    assert "cannot write file/run.log" in done.stderr


@pytest.mark.slow
def test_verbosity(headstart, features, tmp_path):
    backbone = read_origin(features).model
    words = ["features", tmp_path / "photos", "--backbone", backbone, "--out", "s.h5"]
    assert "24 images" in headstart(*words).stderr
    assert headstart(*words, "-q").stderr == ""
    assert re.search(r"(?m)^\[ +[\d.]+ s\] .*24 images", headstart(*words, "-v").stderr)
    words = ["--heads", "knn", "--folds", 3, "--repeats", 1]
    verbose = headstart("train-heads", "s.h5", "--out", "r", *words, "-v")
    assert "step 1 of 7: duplicates" in verbose.stderr
    assert "step 7 of 7: model" in verbose.stderr


@pytest.mark.cases(1)
@pytest.mark.process
@pytest.mark.parametrize("words", [["--help"], ["backbones", "resnet18"], ["verify", "--help"]])
def test_a_full_disk_behind_stdout_is_one_line(process, tmp_path, words):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*process.command, *words], stdout=full, stderr=subprocess.PIPE)
    lines = done.stderr.decode().splitlines()
    assert (done.returncode, len(lines)) == (1, 1), lines
    assert "standard output" in lines[0]


@pytest.mark.process
def test_a_closed_stdout_is_no_error(process):
    line = "exec >&-; exec " + " ".join(f"'{word}'" for word in [*process.command, "--version"])
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.cases(1)
@pytest.mark.process
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp850"])
def test_a_terminal_of_another_encoding_gets_readable_text(process, monkeypatch, encoding):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    words = [*process.command, "backbones", "resnet18"]
    done = subprocess.run(words, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode(encoding)
    assert "torchvision:resnet18" in text
    assert len({len(line) for line in text.splitlines() if "resnet18" in line}) == 1  # aligned
    assert "\\u" not in text


class TestTables:
    def shown(self, monkeypatch, capsys, width, **changes):
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr(Console, "is_terminal", changes.get("terminal", True))
        table(TITLES, [ROWS], optional=["b", "a"])
        return capsys.readouterr()

    def test_columns_are_left_out_where_there_is_no_room(self, monkeypatch, capsys):
        done = self.shown(monkeypatch, capsys, 54)
        assert ROWS[0][0] in done.out
        assert "verdict" in done.out
        assert "2.0" not in done.out
        assert max(map(len, re.sub(r"\x1b\[\d+m", "", done.out).splitlines())) <= 54
        assert "without b" in done.err

    @pytest.mark.slow
    def test_nothing_is_left_out_of_a_pipe(self, monkeypatch, capsys):
        done = self.shown(monkeypatch, capsys, 40, terminal=False)
        assert ROWS[0][0] in done.out
        assert "2.0" in done.out
        assert done.err == ""

    def test_a_name_is_never_folded(self, monkeypatch, capsys):
        assert ROWS[0][0] in self.shown(monkeypatch, capsys, 20).out

    def test_names_are_no_markup(self, capsys):
        table({"name": "left"}, [[["[red]x[/red]"]]])
        assert "[red]x[/red]" in capsys.readouterr().out


class TestHelp:
    def test_every_group_is_of_parameters_that_there_are(self):
        names = {param.name for name in COMMANDS for param in cli.get_command(None, name).params}
        assert {name for group in help._GROUPS.values() for name in group} <= names

    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_command_shows_examples_that_parse(self, headstart, name):
        text = headstart(name, "--help").stdout
        examples = re.findall(r"^ +headstart (.*)$", text.partition("Examples:")[2], re.M)
        assert examples
        for line in examples:
            words = line.partition("<")[0].split()
            command = cli.get_command(None, words[0])
            command.make_context(words[0], words[1:])

    def test_the_list_of_commands_is_not_cut(self, headstart):
        text = headstart("--help").stdout
        assert "…" not in text
        assert "..." not in text.partition("Commands:")[2]
        assert max(map(len, text.splitlines())) <= 80

    @pytest.mark.parametrize(
        ("words", "guess"),
        [(["train-head"], "train-heads"), (["predcit", "x"], "predict")],
    )
    def test_a_mistyped_command_gets_a_guess(self, headstart, words, guess):
        assert f"did you mean {guess}" in headstart(*words, code=2).stderr

    def test_a_mistyped_option_gets_a_guess(self, headstart):
        done = headstart("train-heads", "s.h5", "--outt", "r", code=2)
        assert re.search(r"--out(?!t)", done.stderr)


@pytest.mark.process
def test_the_shell_can_complete_commands_and_options(process, monkeypatch):
    monkeypatch.setenv("_HEADSTART_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "headstart train")
    monkeypatch.setenv("COMP_CWORD", "1")
    script = "import sys; sys.argv[0] = 'headstart'; from headstart.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "train-heads" in done.stdout


@pytest.mark.parametrize(
    ("words", "resumes"),
    [
        ("features photos --out s.h5", True),
        ("finetune photos --out tuned", True),
        ("finetune photos --advise --out tuned", True),
        ("finetune photos --advise", False),
        ("train-heads s.h5 --out r", False),
        ("predict m.onnx photos --out p.csv", False),
        ("predict m.onnx photos", False),
        ("serve m.onnx", False),
        ("export a --out b", False),
        ("", False),
    ],
)
def test_what_an_interrupt_promises(words, resumes):
    text = interrupts.remains(words.split())
    assert ("resume" in text) == ("work is saved" in text) == resumes


def test_the_handler_of_characters_leaves_other_errors_alone():
    with pytest.raises(UnicodeDecodeError):
        console._without_characters(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "reason"))


LOADS = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, *rest):
        if name == "headstart.cli":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from headstart.__main__ import main
main()
"""


@pytest.mark.process
def test_an_interrupt_while_the_command_line_loads_ends_it_without_a_traceback():
    done = subprocess.run([sys.executable, "-c", LOADS], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "headstart: interrupted\n")


@pytest.mark.process
def test_the_package_runs_as_a_module():
    words = [sys.executable, "-m", "headstart", "--version"]
    assert "version" in subprocess.run(words, capture_output=True, text=True).stdout


def test_an_interrupt_while_a_module_loads_is_no_fault(monkeypatch):
    def load(*_, **__):
        raise ImportError("initialization failed") from KeyboardInterrupt()

    monkeypatch.setattr(cli, "main", load)
    with pytest.raises(KeyboardInterrupt):
        command_line.run([])


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_80_columns(headstart, command):
    lines = headstart(command, "--help").stdout.splitlines()
    assert max(map(len, lines)) <= 80


@pytest.mark.process
def test_names_of_files_are_utf_8_in_any_locale(
    process, image_folder, tiny_backbone, tmp_path, monkeypatch
):
    image_folder("photos", classes=("Übung", "dog"), per_class=3)
    words = ["features", "photos", "--backbone", tiny_backbone, "--out", "s.h5"]
    for name, value in (("LC_ALL", "C"), ("PYTHONUTF8", "0"), ("PYTHONCOERCECLOCALE", "0")):
        monkeypatch.setenv(name, value)
    process(*words)
    monkeypatch.undo()
    assert "up to date" in process(*words).stdout
    assert store.read(tmp_path / "s.h5").classes == ("dog", "Übung")


def test_the_process_starts_again_only_where_names_are_not_utf_8(monkeypatch):
    started = []
    monkeypatch.setattr(os, "execve", lambda *words: started.append(words))
    console.begin_in_utf_8()
    assert not started
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    monkeypatch.setenv("PYTHONUTF8", "1")
    console.begin_in_utf_8()
    assert not started
    monkeypatch.setenv("PYTHONUTF8", "0")
    console.begin_in_utf_8()
    ((_, words, environment),) = started
    assert words[1:] == sys.orig_argv[1:]
    assert environment["PYTHONUTF8"] == "1"
