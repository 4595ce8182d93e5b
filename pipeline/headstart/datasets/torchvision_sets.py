"""Data sets that torchvision downloads: ``torchvision:NAME`` or ``torchvision:NAME@ROOT``.

Splits are the authors' own; of overlapping ones (``train`` and ``trainval``) only one is used.
Image files are listed in place. A set of arrays, or of files that Headstart does not decode, is
written once as ``ROOT/NAME-images/SPLIT/CLASS/NNNNN.png``, by number in the split, and is listed
from there.
"""

from __future__ import annotations

import difflib
import inspect
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from headstart.core.errors import InputError, one_line
from headstart.core.files import cannot_write
from headstart.core.records import ImageRef, Listing
from headstart.core.torchvision_import import import_torchvision
from headstart.datasets.file_names import EXTENSIONS
from headstart.datasets.folder import list_folder
from headstart.datasets.images import save_png
from headstart.datasets.listing import make_listing
from headstart.datasets.registry import Options, Source

PREFIX = "torchvision:"

# Our name of each split, and torchvision's: a flag is for the parameter `train`, a text for
# `split`; None is a set without splits.
_Splits = Mapping[str, str | bool | None]
_FLAG: _Splits = {"train": True, "test": False}
_TWO: _Splits = {"train": "train", "test": "test"}
_THREE: _Splits = {"train": "train", "validation": "val", "test": "test"}
_HELD_OUT: _Splits = {"train": "train", "validation": "val"}
_WHOLE: _Splits = {"": None}

SETS: Mapping[str, _Splits] = {
    "CIFAR10": _FLAG,
    "CIFAR100": _FLAG,
    "CLEVRClassification": _THREE,
    "Caltech101": _WHOLE,
    "Caltech256": _WHOLE,
    "Country211": {"train": "train", "validation": "valid", "test": "test"},
    "DTD": _THREE,  # the first of its ten partitions
    "EuroSAT": _WHOLE,
    "FER2013": _TWO,
    "FGVCAircraft": _THREE,
    "FashionMNIST": _FLAG,
    "Flowers102": _THREE,
    "Food101": _TWO,
    "GTSRB": _TWO,
    "ImageNet": _HELD_OUT,
    "Imagenette": _HELD_OUT,
    "KMNIST": _FLAG,
    "MNIST": _FLAG,
    "OxfordIIITPet": {"train": "trainval", "test": "test"},
    "PCAM": _THREE,
    "RenderedSST2": _THREE,
    "SEMEION": _WHOLE,
    "STL10": _TWO,
    "SUN397": _WHOLE,
    "SVHN": _TWO,
    "StanfordCars": _TWO,
    "USPS": _FLAG,
}
"""The sets that can be listed, with their splits."""

_OTHER_TASKS = frozenset(
    (
        # detection, segmentation, attributes, captions, pairs
        *("CelebA", "Cityscapes", "CocoCaptions", "CocoDetection", "Flickr30k", "Flickr8k"),
        *("Kitti", "LFWPairs", "PhotoTour", "SBDataset", "SBU", "VOCDetection"),
        *("VOCSegmentation", "WIDERFace"),
        # video, flow, stereo, noise
        *("CREStereo", "CarlaStereo", "ETH3DStereo", "FakeData", "FallingThingsStereo"),
        *("FlyingChairs", "FlyingThings3D", "HD1K", "HMDB51", "InStereo2k", "Kinetics"),
        *("Kitti2012Stereo", "Kitti2015Stereo", "KittiFlow", "Middlebury2014Stereo"),
        *("MovingMNIST", "SceneFlowStereo", "Sintel", "SintelStereo", "UCF101"),
    )
)


class TorchvisionSource(Source):
    """A torchvision data set."""

    name = "torchvision data set"

    def matches(self, data: str) -> bool:
        """Tell whether this is ``torchvision:NAME`` or ``torchvision:NAME@ROOT``."""
        return data.startswith(PREFIX)

    def list(self, data: str, options: Options) -> Listing:
        """List the images of the set, after a download if necessary.

        Raises:
            InputError: the set is unknown, not for classification, missing or damaged, or it
                cannot be downloaded.
        """
        requested, _, place = data.removeprefix(PREFIX).partition("@")
        name = _spelled(requested)
        root = options.cache
        if place:
            root = Path(os.path.expanduser(place))  # noqa: PTH111 - Path's fails on unknown users
        if root is None:
            import platformdirs  # which predicting does without

            root = Path(platformdirs.user_cache_dir("headstart")) / "datasets"
        root = root.absolute()
        exported = root / f"{name}-images"
        if not exported.is_dir():
            datasets = _open(name, root, options.download)
            images = [
                ImageRef(path.removeprefix(f"{root}/"), label, split)
                for split, dataset in datasets.items()
                for path, label in _files(dataset)
            ]
            if images:
                return make_listing(root, images, {}, data)
            _export(datasets, exported)
        return list_folder(exported, data)


def _spelled(requested: str) -> str:
    """Return the name of a set as torchvision spells it; upper and lower case do not matter."""
    spelled = {name.lower(): name for name in (*SETS, *_OTHER_TASKS)}
    name = spelled.get(requested.lower())
    if name is not None and name in SETS:
        return name
    if name is not None:
        raise InputError(
            f"torchvision's {name} has no photos with one class each; choose one of: "
            f"{', '.join(SETS)}"
        )
    near = difflib.get_close_matches(requested.lower(), [name.lower() for name in SETS])
    hint = f"did you mean {' or '.join(spelled[match] for match in near)}?"
    raise InputError(
        f"there is no torchvision set called {one_line(requested) or '(empty)'}; "
        + (hint if near else f"choose one of: {', '.join(SETS)}")
    )


def _open(name: str, root: Path, download: bool) -> dict[str, Any]:
    """Return torchvision's data set of each split, after a download if necessary."""
    kind = getattr(import_torchvision().datasets, name, None)
    if kind is None:
        raise InputError(f"this release of torchvision has no {name}; upgrade torchvision")
    shown = one_line(root)
    try:
        return _construct(kind, root)
    except (RuntimeError, OSError) as error:  # torchvision raises these when files are missing
        if not (download and _fetchable(kind)):
            raise InputError(
                f"torchvision's {name} is not in {shown} ({_reason(error)}); put it there"
                + (" or allow the download" if _fetchable(kind) else "")
            ) from error
    except Exception as error:  # damaged files raise nearly anything
        raise _damaged(name, root, error) from error
    _fetch(kind, root)
    try:
        return _construct(kind, root)
    except Exception as error:
        raise _damaged(name, root, error) from error


def _construct(kind: type[Any], root: Path, download: bool = False) -> dict[str, Any]:
    datasets = {}
    for split, theirs in SETS[kind.__name__].items():
        # Passed even if False: some sets download by default.
        arguments: dict[str, Any] = {"download": download} if _fetchable(kind) else {}
        if theirs is not None:
            arguments["train" if isinstance(theirs, bool) else "split"] = theirs
        with redirect_stdout(sys.stderr):  # stdout is for results; older releases print to it
            datasets[split] = kind(str(root), **arguments)
    return datasets


def _fetchable(kind: type[Any]) -> bool:
    return "download" in inspect.signature(kind).parameters


def _fetch(kind: type[Any], root: Path) -> None:
    """Download a set into a temporary folder, then move it to its root.

    Most sets only check that their folder exists, so an interrupted download would look complete.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        scratch = TemporaryDirectory(prefix=f".{kind.__name__}-", dir=root)
    except OSError as error:
        raise cannot_write(root, error) from error
    with scratch as folder:
        try:
            _construct(kind, Path(folder), download=True)
        except Exception as error:  # network, server or archive: anything may be raised
            raise InputError(
                f"cannot download torchvision's {kind.__name__} into {one_line(root)}: "
                f"{_reason(error)}; a network is needed on first use"
            ) from error
        for child in Path(folder).iterdir():
            if not (root / child.name).exists():
                child.rename(root / child.name)


def _damaged(name: str, root: Path, error: Exception) -> InputError:
    return InputError(
        f"the copy of torchvision's {name} in {one_line(root)} is incomplete or damaged "
        f"({_reason(error)}); move it away and try again"
    )


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return one_line(text).rstrip(".") or type(error).__name__


def _files(dataset: Any) -> list[tuple[str, str | None]]:  # noqa: ANN401 - torchvision has no types
    """Return path and label of each image file; nothing if Headstart cannot decode them all."""
    samples = getattr(dataset, "samples", None) or getattr(dataset, "_samples", None)
    if hasattr(dataset, "categories"):  # Caltech's sets make the names of files on reading only
        folder = next(Path(dataset.root).glob("*_ObjectCategories"))
        samples = [
            (path, code)
            for code, category in enumerate(dataset.categories)
            for path in (folder / category).glob("*.jpg")
        ]
    elif samples is None:
        paths = getattr(dataset, "_image_files", None) or getattr(dataset, "_images", [])
        samples = list(zip(paths, getattr(dataset, "_labels", []), strict=True))
    endings = tuple(f".{extension}" for extension in EXTENSIONS)
    if not all(str(path).lower().endswith(endings) for path, _ in samples):
        return []
    names = _class_names(dataset)
    return [(str(path), _label(names, code)) for path, code in samples]


def _class_names(dataset: Any) -> list[str]:  # noqa: ANN401
    """Return the first name of each class, followed by its code if the name is not unique."""
    names = getattr(dataset, "classes", None) or getattr(dataset, "categories", None) or []
    first = [name if isinstance(name, str) else name[0] for name in names]
    times = Counter(first)
    return [name if times[name] == 1 else f"{name} ({code})" for code, name in enumerate(first)]


def _label(names: Sequence[str], code: Any) -> str | None:  # noqa: ANN401 - any kind of integer
    if code is None:
        return None
    return names[int(code)] if names else str(int(code))


def _export(datasets: Mapping[str, Any], exported: Path) -> None:
    """Write the images of every split as PNG files; the folder appears when it is complete."""
    try:
        with TemporaryDirectory(prefix=f".{exported.name}-", dir=exported.parent) as scratch:
            whole = Path(scratch) / "images"
            for split, dataset in datasets.items():
                _write_pngs(dataset, whole / split)
            whole.rename(exported)
    except OSError as error:
        if not exported.is_dir():  # another process may have been faster
            raise cannot_write(exported, error) from error


def _write_pngs(dataset: Any, folder: Path) -> None:  # noqa: ANN401
    names = _class_names(dataset)
    for index in range(len(dataset)):
        try:
            image, code = dataset[index]
        except Exception as error:  # decoders raise nearly anything on damaged bytes
            raise InputError(
                f"image {index} of torchvision's {type(dataset).__name__} cannot be read "
                f"({_reason(error)}); move the set away and try again"
            ) from error
        label = _label(names, code)
        place = folder / label.replace("/", "-") if label else folder
        place.mkdir(parents=True, exist_ok=True)
        save_png(place / f"{index:05d}.png", np.asarray(image))
