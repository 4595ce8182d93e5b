"""The documents: every link leads somewhere, and every command and option that they name exists."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path

import click
import pytest
from headstart.cli import cli

ROOT = Path(__file__).parents[2]
ROOMS = (
    "backbones", "cli", "core", "datasets", "evaluation", "features", "finetune", "heads", "models",
    "report", "workflows",
)  # fmt: skip
DOCUMENTS = [
    *ROOT.glob("*.md"),
    ROOT / "data" / "README.md",
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "pipeline").rglob("README.md"),
]
IDS = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
# Of other programs, or of former versions.
FOREIGN = {
    "docs/onnx.md": {  # of tf2onnx and tensorflowjs
        *("--tflite", "--saved-model", "--graphdef", "--tfjs"),
        *("--inputs", "--outputs", "--input", "--output", "--opset"),
    },
    "docs/sources.md": {"--sort"},
    "docs/models.md": {"--bind", "--data-binary"},
    "docs/deploy.md": {"--generate"},
}


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text_of(path), flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def options(command: click.Command) -> set[str]:
    return {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {"--help"}


@cache
def commands() -> dict[str, set[str]]:
    """Return the options of every command."""
    context = click.Context(cli)
    found = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    return {name: options(command) for name, command in found.items() if command is not None}


@cache
def every_option() -> set[str]:
    """Return the options of every command, and those that scripts have."""
    own = set(re.findall(r'"(--[a-z][a-z-]+)"', "".join(map(text_of, scripts()))))
    return {"--version", "--write"}.union(own, *commands().values())


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_every_link_leads_somewhere(path):
    for target in LINK.findall(text_of(path)):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_every_command_and_option_exists(path):
    """An option behind a command is one of that command; any other is one of some program here."""
    known = commands()
    allowed = every_option() | FOREIGN.get(str(path.relative_to(ROOT)), set())
    for code in CODE.findall(text_of(path)):
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", code):
            assert option in allowed or "apt-get" in code or "pip " in code, f"{option} in {code}"
        for line in re.findall(
            r"(?<!import )(?<!from )\bheadstart ([a-z][a-z-]+\b[^`\n#|]*)", code
        ):
            words = shlex.split(line.replace("'", ""))
            assert words[0] in known, f"headstart {line}"
            for word in words:
                if word.startswith("--"):
                    assert word in known[words[0]], f"headstart {line}"


def scripts() -> list[Path]:
    return sorted((ROOT / "benchmarks").glob("*.py"))


def test_every_make_target_exists():
    makefile = text_of(ROOT / "Makefile")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))
    for path in DOCUMENTS:
        for code in CODE.findall(text_of(path)):
            for target in re.findall(r"^`?(?:\$ )?make ([a-z-]+)", code, flags=re.MULTILINE):
                assert target in targets, f"make {target} in {path.name}"


@pytest.mark.parametrize("gpu", [False, True])
def test_set_up_takes_the_gpu_packages_where_an_nvidia_driver_is(tmp_path, gpu):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin" if gpu else "/usr/bin:/bin"
    if not gpu and shutil.which("nvidia-smi", path=path):
        pytest.skip("this machine has an NVIDIA driver")
    words = ["make", "-n", "-B", "setup"]
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=ROOT, env={"PATH": path}, check=True
    )
    pinned = dict(
        line.split("==") for line in text_of(ROOT / "constraints.txt").split() if "==" in line
    )
    assert (f"onnxruntime-gpu=={pinned['onnxruntime-gpu']}" in done.stdout) == gpu
    assert (f"torch=={pinned['torch']}+cpu" in done.stdout) != gpu


def test_the_overview_is_short_and_leads_to_every_room():
    overview = text_of(ROOT / "ARCHITECTURE.md")
    assert len(overview.splitlines()) <= 150
    for room in ROOMS:
        page = f"pipeline/headstart/{room}/README.md"
        assert page in overview
        assert len(text_of(ROOT / page).splitlines()) <= 40, page


def test_the_readme_is_short():
    assert len(text_of(ROOT / "README.md").splitlines()) <= 200


@pytest.mark.slow
def test_the_documents_that_the_code_names_exist():
    for folder in ("pipeline", "benchmarks", "tests"):
        for file in (ROOT / folder).rglob("*.py"):
            for name in re.findall(r"\bdocs/[\w/-]+\.(?:md|html)\b", text_of(file)):
                assert (ROOT / name).is_file(), f"{file.name}: {name}"
            for number in re.findall(r"docs/decisions [a-z ]*\((\d+)\)", text_of(file)):
                assert list((ROOT / "docs" / "decisions").glob(f"{int(number):04d}-*.md")), number
