"""The house: which part does what, what it may import, and who alone may use a library.

Read the two tables first; the tests below hold the code to them. A new module gets a line in
`HOUSE`; a new library gets a line in `OWNERS`, unless it is cheap and harmless everywhere.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import pipeline
from pipeline.cli import cli

# Imports go downward only. On level 2 no stage imports another one; on levels 1 and 0 parts may
# import one another, sparingly and never in a circle.
HOUSE = {
    3: {
        "cli": "one file a command, thin: parse, call a stage, print",
    },
    2: {  # the stages
        "choose": "a source and backbones become a comparison of their accuracy and cost",
        "embed": "a source and a backbone become a feature store",
        "compare": "a feature store becomes a comparison of heads",
        "finetune": "a source and a backbone become a new backbone",
        "bundle": "a backbone and a head become one ONNX file",
        "feature_export": "a feature store becomes a table for other tools",
        "image_embedder": "a network as a scikit-learn transformer",
        "predict": "such a file and images become predictions",
        "serve": "such a file becomes a page and an endpoint",
    },
    1: {
        "sources": "folder, CSV or torchvision set: which images there are, with their labels",
        "places": "bytes at a path or behind a URL",
        "mirror": "copies here of files behind URLs",
        "images": "image bytes become an array of pixels",
        "backbones": "pretrained networks, one file a provider",
        "export": "a network becomes a checked ONNX file that describes itself",
        "precision": "an exported backbone in other arithmetic",
        "int8": "an exported backbone in 8-bit integers",
        "budget": "which arithmetic a backbone may run in",
        "layer_of_several": "one layer of an exported backbone with several",
        "certificate": "probe images and their vectors: does this machine compute the same?",
        "feature_store": "a store as an object, for the library",
        "classifier": "a classifier file, opened: pixels in, probabilities out",
        "modelfile": "the seal of a classifier file",
        "novelty": "how far an image is from the training images",
        "runner": "runs an ONNX file, and says on which device",
        "store": "features in HDF5 files that survive anything",
        "outcomes": "what became of every image of a run",
        "heads": "the classifiers and their searches, one file a family",
        "metrics": "scores and intervals, pure functions",
        "duplicates": "images that occur more than once",
        "label_errors": "labels that are probably wrong",
        "learning_curve": "accuracy against the number of images",
        "projection": "features become points of a plane",
        "transferability": "scores of features before any head is trained",
        "groups": "which images belong together",
        "protocol": "what is trained on, what is tested on, what a reader must know",
        "report": "a comparison becomes a page",
        "distribute": "runs a function on many items at once, on threads or on Ray",
        "thumbnails": "a small picture of an image in a store",
        "textures": "draws the demo data",
        "trial": "looks at a file in a process that may die of it",
        "torchvision_import": "the one door to torchvision and timm",
    },
    0: {
        "callable_module": "a module that can be called like its function",
        "rows": "rows of numbers that may be more than memory holds",
        "records": "the facts that parts hand to each other",
        "errors": "what can go wrong, in few kinds",
        "files": "writing files whole or not at all",
    },
}

# A library is imported by its owners alone: nobody else knows that it is there.
OWNERS = {
    "PIL": ["images"],
    "onnxruntime": ["int8", "precision", "runner"],
    "torch": ["backbones", "export", "finetune", "torchvision_import"],
    "huggingface_hub": ["backbones"],
    "safetensors": ["backbones", "finetune"],
    "torchvision": ["torchvision_import"],
    "timm": ["torchvision_import"],
    "keras": ["backbones"],
    "onnx": ["backbones", "bundle", "export", "int8", "layer_of_several", "precision"],
    "skl2onnx": ["bundle"],
    "sklearn": ["heads", "image_embedder", "projection"],
    "skops": ["heads"],
    "pyarrow": ["feature_export", "sources"],
    "faiss": ["heads"],
    "joblib": ["distribute", "heads"],
    "cleanlab": ["label_errors"],
    "fsspec": ["places"],
    "pandas": [],  # cleanlab brings it
    "h5py": ["sources", "store"],
    "jinja2": ["report"],
    "plotly": ["report"],
    "umap": ["projection"],
    "starlette": ["serve"],
    "uvicorn": ["serve"],
    "ray": ["distribute"],
    "click": ["cli"],
    "rich": ["cli"],
    "pickle": [],  # no file that we read may run code
    "matplotlib": [],  # figures are SVG that we write
}

HEAVY = "torch torchvision timm keras sklearn skl2onnx onnx scipy ray cleanlab faiss".split()
NETWORKS = [  # define networks or train them: their stage imports them when it runs
    f"finetune/{name}.py"
    for name in (
        "activations",
        "batches",
        "boundary",
        "depthwise",
        "model",
        "pilot",
        "preparation",
        "training",
        "views",
    )
]
MAX_LINES = 450
MAX_STATEMENTS = 20  # of a command

ROOT = Path(pipeline.__file__).parent
FILES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}
LEVEL = {part: level for level, parts in HOUSE.items() for part in parts}


def part_of(file: str) -> str:
    """Return the part of the house that a file belongs to; empty for the package itself."""
    return file.split("/")[0].removesuffix(".py").replace("__init__", "")


def imports(file: str) -> Iterator[str]:
    """Yield the dotted name of everything that a file imports, wherever it does so."""
    for node in ast.walk(ast.parse(FILES[file].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively; write the name in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            name = node.func.id if isinstance(node.func, ast.Name) else name
            argument = node.args[0]
            if "import" in name and isinstance(argument, ast.Constant):
                yield str(argument.value)  # import_module("x"), and what wraps it


def parts_imported(file: str) -> set[str]:
    names = [name.split(".") for name in imports(file)]
    return {name[1] for name in names if name[0] == "pipeline" and name[1:] and name[1] in LEVEL}


@pytest.mark.parametrize("file", FILES)
def test_every_file_has_a_place_in_the_house(file):
    assert part_of(file) in {"", *LEVEL}, "add it to HOUSE, with its one job"
    assert not {"utils", "util", "helpers", "common", "misc"} & {Path(file).stem, part_of(file)}


@pytest.mark.parametrize("file", FILES)
def test_imports_go_downward_only(file):
    part = part_of(file)
    for other in parts_imported(file) - {part}:
        if not part:
            pytest.fail(f"importing the package must not import {other}")
        assert LEVEL[other] <= LEVEL[part], f"{part} imports {other}, which lies above it"
        assert LEVEL[part] != 2 or LEVEL[other] < 2, f"the stage {part} imports the stage {other}"


def test_no_part_imports_itself_by_way_of_others():
    graph: dict[str, set[str]] = {part: set() for part in LEVEL}
    for file in FILES:
        if part_of(file):
            graph[part_of(file)] |= parts_imported(file) - {part_of(file)}
    list(TopologicalSorter(graph).static_order())  # CycleError names the circle


@pytest.mark.parametrize("file", FILES)
def test_a_library_is_imported_by_its_owners_alone(file):
    for name in imports(file):
        owners = OWNERS.get(name.split(".")[0])
        assert owners is None or part_of(file) in owners, f"{name} belongs to {owners}"


def test_the_tables_are_not_out_of_date():
    assert {part_of(file) for file in FILES} - {""} >= LEVEL.keys()
    assert {owner for owners in OWNERS.values() for owner in owners} <= LEVEL.keys()


def test_no_import_of_ours_loads_a_heavy_library(fresh_python):
    script = """
        import importlib, json, sys
        for name in sys.argv[2:]:
            importlib.import_module(name)
        print(json.dumps([name for name in sys.argv[1].split() if name in sys.modules]))
    """
    light = [file for file in FILES if file not in NETWORKS]
    dotted = ["pipeline." + file.removesuffix(".py").replace("/", ".") for file in light]
    names = [name.removesuffix(".__init__") for name in dotted]
    assert fresh_python(script, " ".join(HEAVY), "pipeline") == []
    assert fresh_python(script, " ".join(HEAVY), "pipeline.predict") == []
    names.remove("pipeline.image_embedder")  # its class is one of scikit-learn's
    assert fresh_python(script, " ".join(HEAVY), *names) == []
    # What ``headstart --help`` waits for:
    assert fresh_python(script, " ".join([*OWNERS, "numpy"]), "pipeline.cli") == ["click"]


@pytest.mark.parametrize("file", FILES)
def test_a_file_can_be_read_in_one_go(file):
    lines = len(FILES[file].read_text().splitlines())
    assert lines <= MAX_LINES, f"{lines} lines; find the two things that it does"


@pytest.mark.parametrize("file", FILES)
def test_no_error_is_swallowed(file):
    for node in ast.walk(ast.parse(FILES[file].read_text())):
        if isinstance(node, ast.ExceptHandler) and is_broad(node.type):
            idle = (ast.Pass, ast.Continue, ast.Break)
            busy = [part for part in node.body if not isinstance(part, idle) and not is_text(part)]
            assert busy, f"line {node.lineno} drops every error"
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            assert not any(map(is_broad, node.args)), f"line {node.lineno} drops every error"


def is_broad(kind: ast.expr | None) -> bool:
    return kind is None or any(
        isinstance(node, ast.Name) and node.id in ("Exception", "BaseException")
        for node in ast.walk(kind)
    )


def is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@pytest.mark.parametrize("name", cli.list_commands(None))  # type: ignore[arg-type]
def test_a_command_is_thin(name):
    """It parses, calls a stage and prints: what needs more belongs below."""
    command = cli.get_command(None, name)  # type: ignore[arg-type]
    module = sys.modules[command.callback.__module__]
    tree = ast.parse(Path(module.__file__).read_text())
    function = next(
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "command"
    )
    statements = [node for node in ast.walk(function) if isinstance(node, ast.stmt)]
    assert len(statements) <= MAX_STATEMENTS, "move what it decides into the stage"
    assert ast.get_docstring(function), "what --help says"
    libraries = {item.split(".")[0] for item in imports(f"cli/{Path(module.__file__).name}")}
    assert libraries <= sys.stdlib_module_names | {"pipeline", "click", "rich"}
