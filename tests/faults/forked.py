"""Runs `headstart` in processes that it forks, ready imported, and kills or cripples them.

Reads one JSON document a line from stdin and answers each with one on stdout. A child is a real
process that runs the real command line; only the second that Python needs to start is saved.

    {"argv": […], "folder": F, "errors": FILE,           what to run and where its stderr goes
     "signals": [[number, seconds], …], "seen": GLOB,     after these seconds, counted from the
                                                          moment that a file like this is seen
     "fault": [n, errno, lasting]}                        let the n-th call that changes F fail
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from PIL import Image

CALLS = ("open", "pwrite", "ftruncate", "fsync", "replace", "unlink", "close")
LIMIT = 60  # seconds that a child may take


def child(task: dict) -> None:
    errors = os.open(task["errors"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(errors, 2)
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    if "fault" in task:
        cripple(task["folder"], *task["fault"])
    sys.argv = ["headstart", *task["argv"]]
    from headstart.cli import main

    main()


def cripple(folder: str, fatal: int, code: int, lasting: bool) -> None:
    """Let one call that changes the folder fail, or that one and all after it."""
    handles: set[int] = set()
    made = 0

    def stand_in(call: str):
        real = getattr(os, call)

        def function(*args, **kwargs):
            nonlocal made
            first = args[0]
            ours = first in handles if isinstance(first, int) else str(first).startswith(folder)
            if not ours:
                return real(*args, **kwargs)
            made += 1
            if call == "close":
                handles.discard(first)
            if made == fatal or (lasting and made > fatal):
                if call == "close":
                    real(first)  # Linux closes a file even if it reports an error
                raise OSError(code, os.strerror(code))
            result = real(*args, **kwargs)
            if call == "open":
                handles.add(result)
            return result

        return function

    for call in CALLS:
        setattr(os, call, stand_in(call))


def watch(process: int, task: dict) -> int:
    """Send a child its signals; returns how many reached it."""
    folder, seen, sent = Path(task["folder"]), task.get("seen"), 0
    end = time.perf_counter() + LIMIT
    while seen and not any(folder.glob(seen)) and not ended(process):
        if time.perf_counter() > end:
            break
    start = time.perf_counter()
    for number, after in task.get("signals", ()):
        while time.perf_counter() < start + after:
            time.sleep(min(0.001, max(0.0, start + after - time.perf_counter())))
        if ended(process):
            break
        os.kill(process, number)
        sent += 1
    while not ended(process):
        if time.perf_counter() > end:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.0005)
    return sent


def ended(process: int) -> bool:
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def main() -> None:
    # Commands import what they need when they run; a fork should find it there.
    for name in (
        *("cli.features", "cli.verify", "workflows.features", "features.embed.single_file"),
        *("datasets.mirror", "datasets.images"),
    ):
        importlib.import_module(f"headstart.{name}")
    Image.preinit()
    for line in sys.stdin:
        task = json.loads(line)
        started = time.perf_counter()
        process = os.fork()
        if process == 0:
            code = 70
            try:
                child(task)
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                sys.stderr.flush()
                os._exit(code)
        sent = watch(process, task)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        answer = {"code": code, "sent": sent, "seconds": time.perf_counter() - started}
        print(json.dumps(answer), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
