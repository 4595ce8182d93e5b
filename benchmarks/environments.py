"""Virtual environments: one for each rival, made once in a cache folder; Headstart's lightest."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from alternate import ROOT, ContenderError

TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
SHARED = ("torch", "torchvision", "pillow", "timm")  # in the same versions as here: a fair race


@dataclass(frozen=True)
class Rival:
    """A package to install.

    Attributes:
        package: what to install without its own list of dependencies.
        needs: the dependencies, if its own list cannot be met.
    """

    package: str
    needs: tuple[str, ...]


RIVALS = {
    "img2vec_pytorch": Rival("img2vec-pytorch==1.0.2", ("numpy", "pillow", "torchvision")),
    # It asks for torchvision 0.15.2 only, which would bring a torch of 2023; the rest is its own
    # list, with tensorflow (which it imports at once) in its smaller build.
    "thingsvision": Rival(
        "thingsvision==2.7.3",
        (
            "accelerate<1.10", "ftfy", "h5py", "matplotlib", "numba", "numpy<2",
            "open-clip-torch==3.*", "pandas", "pillow", "regex", "safetensors<0.6",
            "scikit-image", "scikit-learn", "scipy", "tensorflow-cpu<2.16", "timm",
            "torchtyping", "torchvision", "tqdm", "transformers==4.40.1",
        ),
    ),
}  # fmt: skip


def python_of(name: str, cache: Path) -> Path:
    """Return the interpreter of a rival's environment, making it if it is not there.

    Raises:
        ContenderError: pip failed.
    """
    rival = RIVALS[name]
    ours = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [line for line in ours if line.split("==")[0].lower() in SHARED]
    recipe = "\n".join([sys.version, rival.package, *rival.needs, *pinned])
    folder = cache / "environments" / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        venv.create(folder, with_pip=True, clear=True)
        constraints = folder / "constraints.txt"
        constraints.write_text("\n".join(pinned) + "\n")
        # PyTorch's CPU build, as in the Makefile: from an index at hand or else from its own.
        torch = f"{next(line for line in pinned if line.startswith('torch=='))}+cpu"
        if not _pip(python, torch):
            _pip(python, torch, "--extra-index-url", TORCH_INDEX)
        if not _pip(python, torch, *rival.needs, "-c", str(constraints)):
            raise ContenderError(f"pip cannot install what {rival.package} needs")
        if not _pip(python, "--no-deps", rival.package):
            raise ContenderError(f"pip cannot install {rival.package}")
        done.write_text(recipe)
    return python


def size_gib(name: str, cache: Path) -> float:
    """Return the disk space of a rival's environment."""
    folder = python_of(name, cache).parent.parent
    files = (path.lstat().st_size for path in folder.rglob("*") if not path.is_symlink())
    return sum(files) / 2**30


def light(folder: Path) -> Path:
    """Return the interpreter of a new environment with Headstart's wheel and no extra.

    Raises:
        ContenderError: pip failed.
    """
    left_out = shutil.ignore_patterns(".*", "tests", "out", "data", "build")
    shutil.copytree(ROOT, folder / "source", ignore=left_out)
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    wheel = ["wheel", "-q", "--no-deps", "-w", str(folder), str(folder / "source")]
    command = [python, "-m", "pip", "--disable-pip-version-check", *wheel]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        raise ContenderError("pip cannot build the wheel")
    file = next(folder.glob("headstart-*.whl"))
    if not _pip(python, str(file), "-c", str(ROOT / "constraints.txt")):
        raise ContenderError("pip cannot install the wheel")
    return python


def sizes(python: Path, largest: int = 8) -> dict[str, int]:
    """Return the bytes of an environment's packages and of the largest ones, without pip.

    ``packages`` is of all files but compiled Python files, which are ``compiled``.
    """
    site = next((python.parent.parent / "lib").glob("python*/site-packages"))
    packages: dict[str, int] = {}
    compiled = 0
    for path in site.rglob("*"):
        name = path.relative_to(site).parts[0]
        if name.partition("-")[0] in ("pip", "setuptools", "pkg_resources"):
            continue
        size = 0 if path.is_dir() else path.lstat().st_size
        if "__pycache__" in path.parts:
            compiled += size
        else:
            packages[name] = packages.get(name, 0) + size
    first = sorted(packages.items(), key=lambda item: -item[1])[:largest]
    return {"packages": sum(packages.values()), "compiled": compiled, **dict(first)}


def _pip(python: Path, *arguments: str) -> bool:
    command = [python, "-m", "pip", "--disable-pip-version-check", "install", "-q", *arguments]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
