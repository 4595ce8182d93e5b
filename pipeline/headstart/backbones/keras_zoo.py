"""Keras Applications on Keras' torch backend: ``keras:ARCHITECTURE``, as Keras spells them.

Keras 3 builds its networks of torch modules, so they export like any other. Images are resized as
Keras' own ``load_img`` does (stretched; nearest pixel). Scale, mean and channel order are derived
from what the ``preprocess_input`` of a network's module does to pixels.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from headstart.backbones.catalogue import Entry
from headstart.backbones.keras_import import EXTRA, import_keras
from headstart.backbones.layers import Layer, pooled
from headstart.backbones.network import Network
from headstart.backbones.provider import Provider
from headstart.backbones.weights import Weights
from headstart.core.errors import BackboneError, one_line
from headstart.core.records import Preprocess

if TYPE_CHECKING:
    import torch

NAME = "keras"

Keras: TypeAlias = Any  # the package, which is loaded late
Model: TypeAlias = Any  # keras.Model
Builder: TypeAlias = Callable[..., Model]  # of keras.applications

_ANY_SIZE = (224, 224)  # for networks that take any size; their weights were trained on this
_LAYOUTS = {3: "hwc", 2: "tokens", 1: "vector"}
_BEHIND = ("Activation", "Softmax", "Reshape", "Flatten", "Dropout")  # what may follow a classifier
_SHA256 = 64  # digits
_LOCK = threading.Lock()


class KerasProvider(Provider):
    """Everything in ``keras.applications`` that torch can run."""

    prefix = NAME
    packages = ("keras",)
    extra = EXTRA
    trainable = False  # its layers do not train as torch's do

    def entries(self) -> Iterator[Entry]:
        """Ask Keras for everything that it publishes and torch can run; loads Keras and torch.

        Networks are built on torch's meta device, without memory or arithmetic.
        """
        yield from filter(None, map(entry_of, _functions(import_keras())))

    def build(self, entry: Entry, weights: Weights) -> Network:
        """Build a network as Keras does for its weights, which may lack the classifier."""
        keras = import_keras()
        function = _functions(keras)[entry.architecture]
        shape = (*entry.size, 3)
        with keras.device("cpu"):
            if weights.path is None:
                with _settled(keras, lambda **_: "", load=False):
                    model = function(input_shape=shape)
                _randomise(model, weights.seed)
            else:
                model = _loaded(keras, function, shape, weights)
        mean, std, order = _preparation(function)
        return KerasNetwork(
            module=model,
            headless=lambda: _cut(keras, model, [(_before_classifier(model), _averaged)]),
            preprocess=_preprocess(keras, entry.size),
            mean=mean,
            std=std,
            order=order,
        )

    def cache_path(self, entry: Entry) -> Path:
        """Return where ``keras.utils.get_file`` stores a file."""
        home = os.environ.get("KERAS_HOME") or "~/.keras"
        return Path(home).expanduser() / "models" / entry.file

    def download(self, entry: Entry, path: Path) -> None:
        """Download with ``keras.utils.get_file``, which checks the hash."""
        with contextlib.redirect_stdout(sys.stderr):  # its progress; stdout is for results
            import_keras().utils.get_file(
                entry.file,
                entry.url,
                file_hash=entry.md5 or None,
                cache_subdir=path.parent.name,
                cache_dir=str(path.parent.parent),
            )


def entry_of(architecture: str) -> Entry | None:
    """Describe one network, or return None if torch cannot run it."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    keras, counter = import_keras(), FlopCounterMode(display=False)
    asked: dict[str, Any] = {}

    def note(**of_file: Any) -> str:  # noqa: ANN401
        asked.update(of_file)
        return ""

    with _settled(keras, note, load=False), keras.device("meta"):
        try:
            network = _functions(keras)[architecture]()
        except ValueError:  # torch cannot run this network
            return None
        height, width = network.input_shape[1:3]
        size = (height, width) if height and width else _ANY_SIZE
        features = int(_before_classifier(network).shape[-1])
        with counter, torch.inference_mode():
            network(torch.zeros(1, *size, 3, device="meta"))
    digits = asked.get("file_hash") or ""  # SHA-256 or MD5
    return Entry(
        name=f"{NAME}:{architecture}",
        architecture=architecture,
        size=size,
        url=asked["origin"],
        file=asked["fname"],
        sha256=digits if len(digits) == _SHA256 else "",
        md5=digits if len(digits) != _SHA256 else "",
        parameters=int(network.count_params()),
        gmacs=float(f"{counter.get_total_flops() / 2e9:.3g}"),
        features=features,
    )


@dataclass(frozen=True)
class KerasNetwork(Network):
    """A network whose layers are those of a Keras model, which have no hooks."""

    def list_layers(self) -> list[Layer]:
        """Return every layer with one output, as Keras names it, in the order of computation."""
        layers = []
        for layer in self.module.layers:  # type: ignore[union-attr]
            if type(layer).__name__ == "InputLayer" or len(layer._inbound_nodes) != 1:
                continue
            shape = tuple(getattr(layer.output, "shape", ()))[1:]
            if 1 <= len(shape) <= 3 and all(shape):
                layers.append(Layer(layer.name, shape, _LAYOUTS[len(shape)]))
        return layers

    def cut(self, positions: Sequence[tuple[Layer, str] | None]) -> torch.nn.Module:
        """Return a module to the pooled features of layers; see `Network.cut`."""
        model: Model = self.module
        outputs: list[tuple[Any, Callable[[torch.Tensor], torch.Tensor]]] = [
            (_before_classifier(model), _averaged)
            if position is None
            else (model.get_layer(position[0].name).output, pooled(*position))
            for position in positions
        ]
        return _cut(import_keras(), model, outputs)


def _functions(keras: Keras) -> dict[str, Any]:
    """Return the functions that build the networks, by name."""
    return {
        name: function
        for name, function in vars(keras.applications).items()
        if inspect.isfunction(function) and "weights" in inspect.signature(function).parameters
    }


@contextmanager
def _settled(keras: Keras, get_file: Callable[..., str], load: bool = True) -> Iterator[None]:
    """Let Keras' builders run with its default settings, and get their files from ``get_file``."""
    from keras.src.utils import file_utils

    config = keras.config

    def get(fname: str, origin: str, **more: object) -> str:
        return get_file(fname=fname, origin=origin, **more)

    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = config.image_data_format(), config.floatx(), config.dtype_policy()
        drawn = random.getstate()  # what Keras draws its seeds from
        original, loads = file_utils.get_file, keras.Model.load_weights
        # Keras counts names; counting anew gives a layer the same name in every process.
        keras.utils.clear_session(free_memory=False)
        config.set_image_data_format("channels_last")
        config.set_floatx("float32")
        config.set_dtype_policy("float32")
        # Only a builder that is given published weights makes exactly the layers that they need.
        file_utils.get_file = get
        if not load:
            keras.Model.load_weights = lambda *_, **__: None
        try:
            yield
        finally:
            file_utils.get_file, keras.Model.load_weights = original, loads
            random.setstate(drawn)
            config.set_image_data_format(settings[0])
            config.set_floatx(settings[1])
            config.set_dtype_policy(settings[2])


def _randomise(model: Model, seed: int) -> None:
    """Draw every kernel anew, from He et al.'s normal distribution (ICCV 2015)."""
    # With Keras' own initial weights the signal fades from layer to layer, above all in depthwise
    # kernels, until a deep network gives nothing but zeros.
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        for variable in layer.weights:
            if not variable.path.endswith("kernel"):
                continue
            inputs = (
                variable.shape[:2]
                if "epthwise" in variable.path + type(layer).__name__
                else variable.shape[:-1]
            )
            spread = np.sqrt(2 / np.prod(inputs))
            variable.assign(rng.normal(0, spread, variable.shape).astype(np.float32))


def _loaded(
    keras: Keras, function: Builder, shape: tuple[int, int, int], weights: Weights
) -> Model:
    """Return the network with a file's weights, which may lack those of the classifier."""
    path = str(weights.path)

    def load(top: bool) -> Model:
        with _settled(keras, lambda **_: path):
            return function(input_shape=shape, include_top=top)

    try:
        return load(top=True)
    except Exception as error:  # Keras and h5py have many types for a file that does not fit
        failure = error
    other = _of_other_classes(keras, function, shape, path)
    if other is not None:
        weights.notes[:] = ["the classifier in the file, of other classes, was left out"]
        return other
    try:
        base = load(top=False)
    except Exception:  # as above
        base = None
    if base is not None:
        return _with_classifier(keras, function, shape, base, path)
    raise BackboneError(
        f"the weights in {one_line(path)} do not fit this network: "
        f"{one_line(failure)[:240]}; give the .h5 file that Keras publishes, or one of "
        "model.save or model.save_weights"
    ) from failure


def _of_other_classes(
    keras: Keras, function: Builder, shape: tuple[int, int, int], path: str
) -> Model | None:
    """Return the network if a file has all of its weights before the classifier; else None."""
    with _settled(keras, lambda **_: "", load=False):
        model = function(input_shape=shape)
    floats = [variable for variable in model.weights if "float" in str(variable.dtype)]
    for variable in floats:  # what the file does not replace stays so
        variable.assign(np.full(variable.shape, np.nan, np.float32))
    try:
        with _settled(keras, lambda **_: ""):
            model.load_weights(path, skip_mismatch=True)
    except Exception:  # as in `_loaded`
        return None
    before = keras.Model(model.input, _before_classifier(model))
    needed = {id(variable) for variable in before.weights}
    for variable in floats:
        if np.isnan(keras.ops.convert_to_numpy(variable)).any():
            if id(variable) in needed:
                return None
            variable.assign(np.zeros(variable.shape, np.float32))
    return model


def _with_classifier(
    keras: Keras, function: Builder, shape: tuple[int, int, int], base: Model, path: str
) -> Model:
    """Return the whole network, with weights for the part before the classifier."""
    with _settled(keras, lambda **_: "", load=False):
        model = function(input_shape=shape)
    before = keras.Model(model.input, _before_classifier(model))
    trained = [layer for layer in base.layers if layer.weights]
    layers = [layer for layer in before.layers if layer.weights]
    missing = [layer.name for layer in layers[len(trained) :]]
    if missing:
        raise BackboneError(
            f"the weights in {one_line(path)} do not fit this network: they lack "
            f"{', '.join(missing[:3])}; give the file that has the classifier too, without _notop"
        )
    for theirs, ours in zip(trained, layers, strict=True):
        ours.set_weights(theirs.get_weights())
    return model


def _before_classifier(model: Model) -> Any:  # noqa: ANN401 - a Keras tensor
    """Return the tensor that the classifier reads."""
    for layer in reversed(model.layers):
        if type(layer).__name__ in ("Dense", "Conv2D"):
            return layer.input
        if type(layer).__name__ not in _BEHIND:
            break
    raise BackboneError("the network has no classifier to cut off; choose a --layer")


def _averaged(out: torch.Tensor) -> torch.Tensor:
    """Return ``(n, d)`` from the input of a dense or a fully convolutional classifier."""
    return out.mean((1, 2)) if out.dim() == 4 else out


def _cut(
    keras: Keras,
    model: Model,
    outputs: Sequence[tuple[Any, Callable[[torch.Tensor], torch.Tensor]]],
) -> torch.nn.Module:
    """Return a module from ``(n, 3, h, w)`` to the pooled tensors; the rest is left out."""
    import torch

    part = keras.Model(model.input, [tensor for tensor, _ in outputs])
    pools = [pool for _, pool in outputs]

    class Cut(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = part

        def forward(self, image: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
            with keras.device("cpu"):
                out = self.network(image.permute(0, 2, 3, 1), training=False)
            outputs = out if isinstance(out, list | tuple) else [out]
            features = tuple(pool(output) for pool, output in zip(pools, outputs, strict=True))
            return features if len(features) > 1 else features[0]

    return Cut().eval()


def _preprocess(keras: Keras, size: tuple[int, int]) -> Preprocess:
    """Derive the resize from Keras' ``load_img``, which each network's documentation uses."""
    of_load = inspect.signature(keras.utils.load_img).parameters
    if of_load["keep_aspect_ratio"].default:
        raise BackboneError("this version of Keras resizes images in a way that is not known here")
    crop = size[0] if size[0] == size[1] else size
    return Preprocess(resize=size, crop=crop, interpolation=of_load["interpolation"].default)


def _preparation(
    function: Builder,
) -> tuple[tuple[float, float, float], tuple[float, float, float], str]:
    """Return mean and standard deviation on the 0…1 scale, red first, and the channel order."""
    prepare = sys.modules[function.__module__].preprocess_input

    def run(pixels: Any) -> Any:  # noqa: ANN401 - an array
        array = np.asarray(pixels, np.float64).reshape(-1, 1, 1, 3)
        return np.asarray(prepare(array.copy(), data_format="channels_last")).reshape(-1, 3)

    # Black and the primary colours show what ``preprocess_input`` does to a pixel; the noise below
    # proves that it does no more than that.
    black, *primaries = run(np.vstack([np.zeros(3), 255 * np.eye(3)]))
    slopes = (np.array(primaries) - black) / 255  # of each output channel, by input channel
    order = "BGR" if abs(slopes[0, 2]) > abs(slopes[0, 0]) else "RGB"
    turned = -1 if order == "BGR" else 1
    scale, shift = np.diag(slopes[:, ::turned]), black[::turned]
    noise = np.random.default_rng(0).uniform(0, 255, (9, 3))
    if (scale == 0).any() or not np.allclose(run(noise)[:, ::turned], noise * scale + shift):
        raise BackboneError(
            f"{one_line(function.__name__)} uses preprocessing that Headstart does not "
            "support; choose another backbone"
        )
    std = 1 / (255 * scale)
    mean = -shift * std + 0.0  # no negative zero
    return tuple(mean.tolist()), tuple(std.tolist()), order
