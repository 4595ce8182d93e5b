"""The files of deploy/, each before the linter of its own kind, and the commands that they run."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
import yaml
from headstart import __version__
from headstart.cli import serve
from headstart.cli.features import command

DEPLOY = Path(__file__).parents[2] / "deploy"
TOOLS = Path(sys.executable).parent


def lint(tool: str, *words: object) -> None:
    done = subprocess.run(
        [TOOLS / tool, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("hadolint", DEPLOY / "Dockerfile"),
        ("hadolint", DEPLOY / "serve.Dockerfile"),
        ("shellcheck", DEPLOY / "slurm.sh"),
        ("kubernetes-validate", "--strict", DEPLOY / "kubernetes-job.yaml"),
    ],
    ids=lambda words: words[-1].name,
)
def test_its_own_linter_finds_nothing(words):
    lint(*words)


@pytest.mark.ray
def test_the_cluster_is_one_for_ray():
    schema = json.loads(files("ray.autoscaler").joinpath("ray-schema.json").read_text())
    jsonschema.validate(yaml.safe_load((DEPLOY / "ray-cluster.yaml").read_text()), schema)


def test_a_linter_that_finds_something_fails(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM debian\nRUN cd /tmp\n")
    with pytest.raises(AssertionError, match="DL3006"):
        lint("hadolint", tmp_path / "Dockerfile")


@pytest.mark.parametrize("name", ["slurm.sh", "ray-cluster.yaml", "kubernetes-job.yaml"])
def test_its_command_is_one_that_there_is(name):
    text = (DEPLOY / name).read_text()
    if name.startswith("kubernetes"):
        (job,) = [d for d in yaml.safe_load_all(text) if d["kind"] == "Job"]
        words = job["spec"]["template"]["spec"]["containers"][0]["command"]
    else:
        words = shlex.split(re.search(r"headstart features [^'\n]*", text)[0])
    assert words[:2] == ["headstart", "features"]
    with command.make_context("features", list(words[2:])) as context:
        assert context.params["engine"] == "ray"


def test_the_server_s_command_is_one_that_there_is():
    lines = dict(
        line.split(maxsplit=1)
        for line in (DEPLOY / "serve.Dockerfile").read_text().splitlines()
        if line.startswith(("ENTRYPOINT", "CMD"))
    )
    words = [*json.loads(lines["ENTRYPOINT"]), *json.loads(lines["CMD"])]
    assert words[:2] == ["headstart", "serve"]
    with serve.command.make_context("serve", words[2:]) as context:
        assert context.params["host"] == "0.0.0.0"


@pytest.mark.parametrize("name", ["Dockerfile", "serve.Dockerfile"])
def test_what_an_image_copies_is_not_ignored(name):
    kept = re.findall(r"^!(.+)$", (DEPLOY.parent / ".dockerignore").read_text(), flags=re.M)
    copied = re.findall(r"^COPY (.+) \./\S*$", (DEPLOY / name).read_text(), flags=re.M)
    names = [word for line in copied for word in line.split()]
    assert set(names) == set(kept)
    assert all((DEPLOY.parent / word).exists() for word in names)


def test_the_image_is_of_this_version():
    for name in ("ray-cluster.yaml", "kubernetes-job.yaml"):
        assert f"headstart:{__version__}\n" in (DEPLOY / name).read_text()
