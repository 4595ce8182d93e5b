"""Nothing leaves the machine: a real run looks up no host and writes only where it should."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from headstart.models.bundle.example import example as program

COMMAND = [sys.executable, "-c", "from headstart.cli import main; main()"]
VARIABLES = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "RAY_USAGE_STATS_ENABLED")
_WRITES = re.compile(
    r'(?:openat|open|creat|mkdir|rename)\([^"]*"([^"]*)".*(?:O_CREAT|mkdir|rename)'
)


def traceable() -> bool:
    words = ["strace", "-f", "-e", "trace=connect", "true"]
    return (
        bool(shutil.which("strace")) and not subprocess.run(words, capture_output=True).returncode
    )


@pytest.fixture
def clean_home(tmp_path, monkeypatch):
    """An environment in which no variable is set that turns a library's reports off."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(home))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.mark.process
@pytest.mark.slow
def test_no_command_looks_up_a_host_or_writes_elsewhere(
    tmp_path, clean_home, image_folder, tiny_backbone, tiny_classifier
):
    photos, out = image_folder(per_class=2), tmp_path / "out"
    example = tmp_path / "predict_example.py"
    example.write_text(program())
    image = next(photos.rglob("*.png"))
    runs = [
        [*COMMAND, "features", photos, "--backbone", tiny_backbone, "--out", out / "s.h5"],
        [*COMMAND, "predict", tiny_classifier, photos, "--out", out / "p.csv"],
        [sys.executable, example, tiny_classifier, image],
    ]
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "--seccomp-bpf", "-s", "4096", "-o", trace, "-e"]
    strace = [*strace, "trace=connect,sendto,open,openat,creat,mkdir,rename"]
    strace = strace if traceable() else []
    for words in runs:
        done = subprocess.run(
            [str(word) for word in [*strace, *words]], capture_output=True, text=True
        )
        assert done.returncode == 0, f"{shlex.join(map(str, words))}: {done.stderr}"
        assert not list(clean_home.rglob("*")), "files outside --out and our cache"
        if strace:
            lines = trace.read_text(errors="replace").splitlines()
            assert not [line for line in lines if "AF_INET" in line or "sendto(" in line]
            written = {found[1] for line in lines if (found := _WRITES.search(line))}
            ours = (str(out), str(tmp_path / "cache"), "/dev/", "/proc/")
            assert not {path for path in written if not path.startswith(ours)}
            assert words is runs[-1] or any(path.startswith(str(out)) for path in written)


def test_the_users_own_choice_stands(fresh_python, monkeypatch):
    script = """
        import json, os, sys
        import headstart
        print(json.dumps([os.environ[name] for name in sys.argv[1:]]))
    """
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert fresh_python(script, *VARIABLES) == ["1", "1", "0"]
    monkeypatch.setenv(VARIABLES[0], "0")
    assert fresh_python(script, *VARIABLES) == ["0", "1", "0"]


@pytest.mark.ray
def test_workers_on_ray_do_not_report_either(ray_cluster):
    import ray

    @ray.remote
    def variables() -> list[str | None]:
        return [os.environ.get(name) for name in VARIABLES]

    assert ray.get(variables.remote()) == ["1", "1", "0"]
