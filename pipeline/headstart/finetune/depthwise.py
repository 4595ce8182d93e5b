"""Fast gradients of depthwise convolutions in bfloat16 on a processor.

An isolated workaround: without it, training gives the same weights up to rounding, only slower.
oneDNN computes the weight gradient of a 3 x 3 kernel fast, that of larger kernels slowly, and the
input gradient of a convolution with a stride slower still. So larger weight gradients are assembled
from 3 x 3 parts, and input gradients with a stride are computed in float32. docs/decisions has the
times (52). Remove this module once oneDNN is as fast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_PART = 3  # size of the fast kernel

Pair = tuple[int, int]


class QuickDepthwise(TorchFunctionMode):
    """A context in which depthwise ``conv2d`` under autocast on a processor has fast gradients."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        if func is torch.nn.functional.conv2d:
            call = _depthwise(*args, **kwargs)
            if call is not None:
                return call()
        return func(*args, **kwargs)


def _depthwise(
    images: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Callable[[], torch.Tensor] | None:
    """Return the faster convolution, or None where there is none."""
    if isinstance(padding, str) or images.dim() != 4 or images.device.type != "cpu":
        return None
    square = weight.shape[2] == weight.shape[3] and weight.shape[2] >= _PART
    single = groups == images.shape[1] == weight.shape[0] and groups > 1
    slow = weight.shape[2] > _PART or _pair(stride) != (1, 1)
    if not (square and single and slow and _pair(dilation) == (1, 1)):
        return None
    if not (torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")):
        return None
    kind = torch.get_autocast_dtype("cpu")
    return lambda: _Depthwise.apply(  # type: ignore[no-untyped-call]
        images.to(kind), weight, bias, _pair(stride), _pair(padding)
    )


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,  # noqa: ANN401
        images: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        stride: Pair,
        padding: Pair,
    ) -> torch.Tensor:
        context.save_for_backward(images, weight)
        context.stride, context.padding, context.bias = stride, padding, bias is not None
        kind = images.dtype
        with torch.autocast("cpu", enabled=False):
            return torch.nn.functional.conv2d(
                images,
                weight.to(kind),
                None if bias is None else bias.to(kind),
                stride,
                padding,
                1,
                len(weight),
            )

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> Any:  # noqa: ANN401
        (gradient,) = gradients
        images, weight = context.saved_tensors
        needed = context.needs_input_grad
        with torch.autocast("cpu", enabled=False):
            to_images = to_weight = to_bias = None
            if needed[0]:
                kind = images.dtype if context.stride == (1, 1) else torch.float32
                to_images = _backward(
                    gradient.to(kind), images.to(kind), weight.to(kind), context, 0
                ).to(images.dtype)
            if needed[1]:
                to_weight = _to_weight(gradient, images, weight, context)
            if context.bias and needed[2]:
                to_bias = gradient.sum((0, 2, 3), dtype=weight.dtype)
        return to_images, to_weight, to_bias, None, None


def _backward(
    gradient: torch.Tensor,
    images: torch.Tensor,
    weight: torch.Tensor,
    context: Any,  # noqa: ANN401
    which: int,
) -> torch.Tensor:
    gradients: tuple[torch.Tensor, ...] = torch.ops.aten.convolution_backward(
        gradient,
        images,
        weight,
        None,
        context.stride,
        context.padding if which == 0 else (0, 0),
        (1, 1),
        False,
        (0, 0),
        len(weight),
        [which == 0, which == 1, False],
    )
    return gradients[which]


def _to_weight(
    gradient: torch.Tensor,
    images: torch.Tensor,
    weight: torch.Tensor,
    context: Any,  # noqa: ANN401
) -> torch.Tensor:
    """Assemble the gradient of the weight from 3 x 3 parts."""
    down, across = context.padding
    padded = torch.nn.functional.pad(images, (across, across, down, down))
    size = [
        step * (places - 1) + _PART
        for step, places in zip(context.stride, gradient.shape[2:], strict=True)
    ]
    result = torch.empty_like(weight)
    part = weight[:, :, :_PART, :_PART].to(images.dtype).contiguous()
    for row, column in product(_starts(weight.shape[2]), repeat=2):
        seen = padded[:, :, row : row + size[0], column : column + size[1]]
        seen = seen.contiguous(memory_format=torch.channels_last)
        result[:, :, row : row + _PART, column : column + _PART] = _backward(
            gradient, seen, part, context, 1
        )
    return result


def _starts(kernel: int) -> Iterator[int]:
    """Yield the starts of parts that cover a kernel; the last two may overlap."""
    yield from range(0, kernel - _PART, _PART)
    yield kernel - _PART
