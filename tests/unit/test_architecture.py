"""The house: which room does what, which file may import what, and who alone may use a library.

The layers themselves are import-linter contracts in pyproject.toml; `make check` runs them. The
tests here hold what those cannot say. A new library gets a line in `OWNERS`, unless it is cheap and
harmless everywhere.
"""

from __future__ import annotations

import ast
import gc
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import headstart
import pytest
from headstart.cli import cli

ROOMS = {
    "cli": "one file a command: parse, call a workflow, print",
    "workflows": "what a command does, callable from Python",
    "finetune": "train a backbone further",
    "models": "the deliverable: bundle, load, predict, serve",
    "features": "images become rows on disk",
    "evaluation": "rows become numbers one may believe",
    "backbones": "networks: providers, export, inference",
    "report": "results become a page and plots",
    "heads": "classifiers and their search",
    "datasets": "DATA becomes bytes, bytes become pixels",
    "core": "facts, errors, files, rows, linear algebra, parallel, sandbox",
}

# A library is imported by its owners alone: nobody else knows that it is there.
OWNERS = {
    "PIL": ["datasets/images"],
    "onnxruntime": ["backbones/inference"],
    "torch": ["backbones", "finetune", "core/torchvision_import"],
    "huggingface_hub": ["backbones"],
    "open_clip": ["backbones/open_clip_zoo"],
    "transformers": ["backbones/transformers_zoo"],
    "safetensors": ["backbones", "finetune"],
    "torchvision": ["core/torchvision_import"],
    "timm": ["core/torchvision_import"],
    "keras": ["backbones"],
    "onnx": ["backbones", "heads/onnx_graphs", "models/bundle", "models/explain"],
    "skl2onnx": ["heads/onnx_graphs"],
    "sklearn": [
        "heads",
        "evaluation/metrics",
        "core/parallel/blas",
        "features/image_embedder",
        "report/projection",
        "report/tsne",
    ],
    "skops": ["heads"],
    "pyarrow": ["features/export_table", "datasets"],
    "joblib": ["core/parallel", "heads"],
    "fsspec": ["datasets/storage"],
    "pandas": ["workflows/result"],  # used where the user has it
    "h5py": ["features/store", "datasets/hdf5"],
    "jinja2": ["report", "models/bundle/model_card"],
    "plotly": ["report"],
    "umap": ["report/projection"],
    "starlette": ["models/serve"],
    "uvicorn": ["models/serve"],
    "ray": ["core/parallel"],
    "click": ["cli"],
    "rich": ["cli"],
    "pickle": [],  # no file that we read may run code
    "matplotlib": [],  # figures are SVG that we write
}

HEAVY = "torch torchvision timm keras sklearn skl2onnx onnx scipy ray cleanlab".split()
# Networks and training loops are defined in subclasses of torch's: imported when they run.
NETWORKS = {
    f"finetune/{name}.py"
    for name in (
        "activations batches boundary depthwise model multilabel objective preparation "
        "single_label timing training views"
    ).split()
}
MAX_LINES = 450
MAX_STATEMENTS = 20  # of a command

# Names that say nothing of what they hold; write the noun (metadata, entry, row, matches, ...).
VAGUE = set("told held found given wanted at one made known begun done said".split())

ROOT = Path(headstart.__file__).parent
FILES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}


@cache
def tree(file: str) -> ast.Module:
    return ast.parse(FILES[file].read_text())


@pytest.fixture(scope="module", autouse=True)
def no_collection() -> Iterator[None]:
    """Collect no garbage: it takes twice as long as parsing, and trees have no cycles."""
    gc.disable()
    yield
    gc.enable()


def room_of(file: str) -> str:
    """Return the room that a file belongs to; empty for the package itself."""
    return file.split("/")[0].removesuffix(".py").replace("__init__", "")


@cache
def imports(file: str) -> tuple[str, ...]:
    """Return the dotted names that a file imports, of functions and at run time too."""
    names: list[str] = []
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively; write the name in full"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            name = node.func.id if isinstance(node.func, ast.Name) else name
            argument = node.args[0]
            if "import" in name and isinstance(argument, ast.Constant):
                names.append(str(argument.value))  # import_module("x"), and what wraps it
    return tuple(names)


def file_of(name: str) -> str | None:
    """Return the file of the package that a dotted name leads to, the longest that there is."""
    parts = name.split(".")[1:]
    while parts:
        for file in (f"{'/'.join(parts)}.py", f"{'/'.join(parts)}/__init__.py"):
            if file in FILES:
                return file
        parts.pop()
    return None


def files_imported(file: str) -> set[str]:
    found = {file_of(name) for name in imports(file) if name.split(".")[0] == "headstart"}
    return {other for other in found if other is not None and other != file}


def test_every_file_has_a_room():
    assert {room_of(file) for file in FILES} - {"", "__main__"} <= ROOMS.keys()
    vague = {"utils", "util", "helpers", "common", "misc"}
    assert not [file for file in FILES if vague & {*Path(file).with_suffix("").parts}]


def test_no_file_imports_itself_by_way_of_others():
    list(TopologicalSorter({file: files_imported(file) for file in FILES}).static_order())


def test_a_library_is_imported_by_its_owners_alone():
    strangers = []
    for file in FILES:
        for name in imports(file):
            owners = OWNERS.get(name.split(".")[0])
            at_home = owners is None or any(
                file == f"{owner}.py" or file.startswith(f"{owner}/") for owner in owners
            )
            strangers += [] if at_home else [f"{file} imports {name}, which belongs to {owners}"]
    assert not strangers


def test_every_owner_exists():
    for owner in {owner for owners in OWNERS.values() for owner in owners}:
        assert f"{owner}.py" in FILES or any(file.startswith(f"{owner}/") for file in FILES)


def test_no_import_of_ours_loads_a_heavy_library(fresh_python):
    script = """
        import importlib, json, sys
        for name in sys.argv[2:]:
            importlib.import_module(name)
        print(json.dumps([name for name in sys.argv[1].split() if name in sys.modules]))
    """
    light = [file for file in FILES if file not in NETWORKS]
    dotted = ["headstart." + file.removesuffix(".py").replace("/", ".") for file in light]
    names = [name.removesuffix(".__init__") for name in dotted]
    assert fresh_python(script, " ".join(HEAVY), "headstart") == []
    assert fresh_python(script, " ".join(HEAVY), "headstart.models.predict") == []
    for name in (  # classes of scikit-learn's kind
        "features.image_embedder",
        "heads.calibrated",
        "heads.multilabel.classifier",
    ):
        names.remove(f"headstart.{name}")
    assert fresh_python(script, " ".join(HEAVY), *names) == []
    # What ``headstart --help`` waits for:
    assert fresh_python(script, " ".join([*OWNERS, "numpy"]), "headstart.cli") == ["click"]


def test_a_file_can_be_read_in_one_go():
    lengths = {file: len(path.read_text().splitlines()) for file, path in FILES.items()}
    too_long = {file: lines for file, lines in lengths.items() if lines > MAX_LINES}
    assert not too_long, "find the two things that each of them does"


def test_no_error_is_swallowed():
    swallowed = []
    for file in FILES:
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.ExceptHandler) and is_broad(node.type):
                idle = (ast.Pass, ast.Continue, ast.Break)
                busy = [item for item in node.body if not isinstance(item, idle)]
                if all(map(is_text, busy)):
                    swallowed.append(f"{file}:{node.lineno}")
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
                swallowed += [f"{file}:{node.lineno}"] if any(map(is_broad, node.args)) else []
    assert not swallowed


def is_broad(kind: ast.expr | None) -> bool:
    return kind is None or any(
        isinstance(node, ast.Name) and node.id in ("Exception", "BaseException")
        for node in ast.walk(kind)
    )


def is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def test_a_command_is_thin():
    """It parses, calls a workflow and prints: what needs more belongs below."""
    for name in cli.list_commands(None):  # type: ignore[arg-type]
        command = cli.get_command(None, name)  # type: ignore[arg-type]
        file = f"cli/{Path(sys.modules[command.callback.__module__].__file__).name}"
        function = next(
            node
            for node in tree(file).body
            if isinstance(node, ast.FunctionDef) and node.name == "command"
        )
        statements = [node for node in ast.walk(function) if isinstance(node, ast.stmt)]
        assert len(statements) <= MAX_STATEMENTS, f"{name}: move what it decides into a workflow"
        assert ast.get_docstring(function), f"{name} needs what --help says"
        libraries = {item.split(".")[0] for item in imports(file)}
        assert libraries <= sys.stdlib_module_names | {"headstart", "click", "rich"}


def names_defined(file: str) -> Iterator[tuple[str, int]]:
    """Yield every name that a file binds: variables, parameters, functions, attributes."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node.lineno


def test_names_are_nouns_of_the_field():
    vague = [
        f"{file}:{line} {name}"
        for file in FILES
        for name, line in names_defined(file)
        if name.strip("_").lower() in VAGUE
    ]
    assert not vague
