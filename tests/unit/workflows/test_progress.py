"""What a workflow shows, and where."""

import io
import sys

from headstart.features.embed import Hooks
from headstart.workflows.progress import showing


class Terminal(io.StringIO):
    def isatty(self):
        return True


def show(hooks=None):
    with showing("embedding", hooks) as shown:
        shown.progress(1, 4)
        shown.notice("a note")
        shown.progress(4, 4)


def test_nothing_where_nobody_looks(capsys):
    show()
    assert capsys.readouterr() == ("", "")


def test_a_line_on_a_terminal_which_is_gone_at_the_end(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    show()
    text = sys.stderr.getvalue()
    assert "embedding: 1 of 4 (25%)" in text
    assert "a note\n" in text
    assert text.endswith("\r")


def test_a_line_in_a_notebook(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    show()
    out, err = capsys.readouterr()
    assert "embedding: 4 of 4" in out
    assert err == ""


def test_the_caller_s_hooks_get_everything():
    seen = []
    show(Hooks(seen.append, lambda done, total: seen.append((done, total))))
    assert seen == [(1, 4), "a note", (4, 4)]
