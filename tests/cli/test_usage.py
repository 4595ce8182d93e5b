"""Help, wrong usage, and what is missing, for every command."""

import pytest

COMMANDS = ["demo-data", "backbones", "export", "features", "verify", "train-heads", "finetune"]
COMMANDS += ["predict", "serve", "report", "export-features", "export-model"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_a_command_does(headstart, command):
    assert "Usage:" in headstart(command, "--help").stdout


def test_help_lists_every_command(headstart):
    text = headstart("--help").stdout
    assert all(command in text for command in COMMANDS)
    assert headstart("--version").stdout.startswith("headstart, version ")


@pytest.mark.parametrize(
    "words",
    [
        ["no-such-command"],
        ["features"],
        ["features", "photos"],
        ["features", "photos", "--out", "s.h5", "--workers", "0"],
        ["features", "photos", "--out", "s.h5", "--on-error", "ignore"],
        ["train-heads", "s.h5", "--out", "o", "--folds", "1"],
        ["train-heads", "--out", "o"],
        ["train-heads", "s.h5", "--out", "o", "--class-weight", "much"],
        ["train-heads", "s.h5", "--out", "o", "--save-head", "joblib"],
        ["predict", "m.onnx"],
        ["predict", "m.onnx", "a.jpg", "--out", "a.csv", "--format", "csv"],
        ["export-features", "s.h5"],
        ["predict", "m.onnx", "a.jpg", "--out", "a.txt"],
        ["predict", "m.onnx", "a.jpg", "--out", "a.csv", "--json"],
        ["demo-data"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(headstart, words):
    assert "Usage:" in headstart(*words, code=2).stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["features", "absent", "--out", "s.h5"], "no such file or folder"),
        (["features", ".", "--out", "s.h5"], "no images"),
        (["verify", "absent.h5"], "no feature store"),
        (["train-heads", "absent.h5", "--out", "o"], "no feature store"),
        (["predict", "absent.onnx", "a.jpg"], "no model"),
        (["report", "absent"], "results.json"),
        (["export", "efficientnet-lite9", "--out", "e.onnx"], "did you mean efficientnet-lite"),
        (["export", "absent.onnx", "--out", "e.onnx"], "no backbone file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_missing_is_one_line_and_exit_code_1(headstart, words, text):
    done = headstart(*words, code=1)
    assert text in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_help_loads_no_library(fresh_python):
    heavy = ["numpy", "rich", "PIL", "onnxruntime", "h5py", "sklearn", "torch", "jinja2", "fsspec"]
    script = """
        import json, sys
        from headstart.cli import run
        heavy, results = sys.argv[1].split(), {}
        for words in ["--version", "--help", *(f"{name} --help" for name in sys.argv[2:])]:
            code = run(words.split())
            results[words] = [code, [name for name in heavy if name in sys.modules]]
        print()
        print(json.dumps(results))
    """
    results = fresh_python(script, " ".join(heavy), *COMMANDS)
    assert results == {words: [0, []] for words in results}
    assert len(results) == 2 + len(COMMANDS)


@pytest.mark.parametrize(
    "words",
    [
        "export-features s.h5 --to csv --out photos/train/bark/0.png",
        "export efficientnet-lite0 --out photos/train/bark/0.png",
        "export-model {classifier} photos --precision fp16 --out photos/train/bark/0.png",
        "predict {classifier} list.csv --out list.csv",
        "finetune photos --out photos",
    ],
)
def test_no_output_goes_over_the_users_own_files(
    headstart, image_folder, tiny_classifier, tmp_path, words
):
    root = image_folder("photos", per_class=2)
    (tmp_path / "list.csv").write_text("path\nphotos/train/bark/0.png\n")
    before = {path: path.read_bytes() for path in (*root.rglob("*.*"), tmp_path / "list.csv")}
    done = headstart(*words.format(classifier=tiny_classifier).split(), code=1)
    assert "--out" in done.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert len([*root.rglob("*.*")]) == len(before) - 1


UNUSED = "torch scipy sklearn pandas jinja2 fastjsonschema onnx networkx rich PIL.PdfImagePlugin"


def test_predicting_a_photo_loads_what_it_uses(
    fresh_python, tiny_classifier, write_image, tmp_path
):
    photo = write_image(tmp_path / "photo.webp", 1)
    script = """
        import json, os, sys
        from headstart.backbones.inference.runner import Runner
        from headstart.cli import run

        asked = []
        Runner._cpu_batch = lambda self: asked.append(self) or 1
        os.posix_spawn = os.fork = None  # no photo of a camera needs another process
        code = run(["predict", *sys.argv[2:]])
        heavy = [*sys.argv[1].split(), "h5py", "starlette", "uvicorn", "importlib.metadata"]
        print(json.dumps([code, asked, [name for name in heavy if name in sys.modules]]))
    """
    assert fresh_python(script, UNUSED, tiny_classifier, photo) == [0, [], []]


def test_a_server_is_ready_before_it_loads_more(fresh_python, tiny_classifier):
    script = """
        import json, sys
        from headstart.cli import run
        from headstart.models import serve

        def ready(application, notice):
            heavy = [*sys.argv[1].split(), "headstart.heads", "headstart.features.embed"]
            print(json.dumps([name for name in heavy if name in sys.modules]), flush=True)
            raise SystemExit(0)

        serve.server = ready
        run(["serve", sys.argv[2], "--port", "0"])
    """
    assert fresh_python(script, UNUSED, tiny_classifier) == []
