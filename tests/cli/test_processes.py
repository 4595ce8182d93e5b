"""What only a process of its own shows: exit codes, stdout and stderr, signals, pipes."""

import json
import shlex
import signal
import subprocess
import time

import pytest


@pytest.mark.slow
def test_exit_codes_and_streams(process):
    assert process("--version").stdout.startswith("headstart, version ")
    failed = process("features", "absent", "--out", "s.h5", code=1)
    assert (failed.stdout, len(failed.stderr.splitlines())) == ("", 1)
    assert process("features", code=2).stderr.startswith("Usage: headstart features")


@pytest.mark.slow
def test_json_is_all_of_stdout(process, image_folder, tiny_backbone, tmp_path):
    words = ["features", image_folder(), "--backbone", tiny_backbone, "--out", "s.h5", "--json"]
    done = process(*words)
    assert json.loads(done.stdout)["rows"] == 24
    assert "24 images" in done.stderr


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_keeps_completed_work(
    process, headstart, image_folder, tiny_backbone, tmp_path, number, code
):
    root = image_folder(tmp_path / "photos")
    source = next(path for path in sorted(root.rglob("*")) if path.is_file())
    data = source.read_bytes()
    for index in range(3000):  # every one has bytes of its own
        (root / f"{index}{source.suffix}").write_bytes(data + index.to_bytes(4, "big"))
    words = ["features", root, "--backbone", tiny_backbone, "--out", "store.h5", "--workers", "1"]
    running = subprocess.Popen(
        [*process.command, *map(str, words)], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    journal = tmp_path / "store.h5.journal"
    while not journal.exists() or journal.stat().st_size < 100_000:
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    running.send_signal(number)
    _, stderr = running.communicate(timeout=60)
    assert running.returncode == code, stderr
    assert "run the same command to resume" in stderr
    assert journal.stat().st_size >= 100_000
    assert not (tmp_path / "store.h5").exists()
    assert "interrupted run" in headstart(*words).stderr
    assert not journal.exists()
    headstart("verify", "store.h5")


@pytest.mark.slow
def test_output_into_a_closed_pipe_is_no_traceback(process, tmp_path):
    line = f"{shlex.join(process.command)} --help | true"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
