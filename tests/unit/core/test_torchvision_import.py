"""The door is tried in fresh interpreters: an import happens once a process."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest
from headstart.core.errors import HeadstartError
from headstart.core.torchvision_import import import_timm, import_torchvision


def run(script: str, *arguments: str) -> dict[str, object]:
    """Run a script in a fresh interpreter; it prints one JSON document as its last line."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    """What holds in an interpreter in which an import failed first, and then went by the door."""
    broken = tmp_path_factory.mktemp("broken")
    package = broken / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("from . import extension\nraise RuntimeError('unfit')")
    (package / "extension.py").write_text("stale = True")
    script = """
        import importlib, json, sys
        import torch
        from headstart.core.errors import HeadstartError
        from headstart.core.torchvision_import import import_timm, import_torchvision

        facts = {}
        original = torch.library.register_fake
        sys.path.insert(0, sys.argv[1])
        try:
            import_torchvision()
        except HeadstartError as error:
            facts["broken"] = str(error)
        facts["restored after failure"] = torch.library.register_fake is original
        facts["left behind"] = "torchvision.extension" in sys.modules
        sys.path.remove(sys.argv[1])
        importlib.invalidate_caches()

        try:
            import torchvision
        except Exception:  # it trips over what the broken one left, and leaves its own half
            pass
        torchvision = import_torchvision()
        facts["stale"] = hasattr(torchvision.extension, "stale")
        facts["restored"] = torch.library.register_fake is original
        facts["same"] = import_torchvision() is torchvision
        model = torchvision.models.resnet18(weights=None).eval()
        crop = torchvision.transforms.Compose([
            torchvision.transforms.Resize(40),
            torchvision.transforms.CenterCrop(32),
        ])
        with torch.inference_mode():
            facts["logits"] = list(model(crop(torch.zeros(1, 3, 50, 60))).shape)
        facts["sets"] = torchvision.datasets.CIFAR10.__name__
        facts["timm"] = "resnet18" in import_timm().list_models()

        @torch.library.custom_op("mine::double", mutates_args=())
        def double(x: torch.Tensor) -> torch.Tensor:
            return x * 2

        @torch.library.register_fake("mine::double")
        def _(x):
            return torch.empty_like(x)

        facts["fake"] = list(torch.ops.mine.double(torch.empty(2, 3, device="meta")).shape)
        facts["real"] = torch.ops.mine.double(torch.ones(1)).item()
        print(json.dumps(facts))
    """
    return run(script, str(broken))


@pytest.mark.slow
def test_an_unfit_torchvision_is_one_clear_error(facts):
    assert "torchvision cannot be imported (unfit)" in facts["broken"]
    assert "pip install" in facts["broken"]
    assert "\n" not in facts["broken"]


@pytest.mark.slow
def test_nothing_of_a_failed_import_stays(facts):
    assert facts["left behind"] is True  # as Python does it: the door has something to clean
    assert facts["stale"] is False
    assert facts["restored after failure"] is True


@pytest.mark.slow
def test_models_transforms_and_data_sets_work(facts):
    assert facts["logits"] == [1, 1000]
    assert facts["sets"] == "CIFAR10"
    assert facts["same"] is True


@pytest.mark.slow
def test_timm_comes_through_the_same_door(facts):
    assert facts["timm"] is True


@pytest.mark.slow
def test_torch_is_left_as_it_was(facts):
    assert facts["restored"] is True
    assert facts["fake"] == [2, 3]
    assert facts["real"] == 2.0


@pytest.mark.long
def test_ops_that_are_there_keep_their_fake_kernels_and_threads_share_one_module():
    facts = run("""
        import json, sys
        from concurrent.futures import ThreadPoolExecutor
        import torch
        from torch._subclasses.fake_tensor import FakeTensorMode
        from torch.fx.experimental.symbolic_shapes import ShapeEnv
        from headstart.core.torchvision_import import import_torchvision

        try:
            import torchvision
        except RuntimeError:  # the ops do not fit: put one there as a healthy build would
            torch.library.define(
                "torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
            torch.library.impl("torchvision::nms", "CPU", lambda boxes, scores, threshold: scores)
        with ThreadPoolExecutor(4) as pool:
            modules = list(pool.map(lambda _: import_torchvision(), range(4)))
        with FakeTensorMode(shape_env=ShapeEnv()):
            kept = torch.ops.torchvision.nms(torch.rand(5, 4), torch.rand(5), 0.5)
        print(json.dumps({"dtype": str(kept.dtype), "modules": len(set(map(id, modules)))}))
    """)
    assert facts == {"dtype": "torch.int64", "modules": 1}


@pytest.mark.cases(2)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("absent", "enter"),
    [
        ("torch", import_torchvision),
        ("torchvision", import_torchvision),
        ("torch", import_timm),
        ("timm", import_timm),
    ],
)
def test_a_package_that_is_not_installed_is_named(absent, enter, monkeypatch):
    monkeypatch.setitem(sys.modules, absent, None)  # Python's own way to say: not there
    with pytest.raises(HeadstartError, match=rf"^{absent} is not installed; .*\[torch\]"):
        enter()
