"""Quick gradients of depthwise convolutions are those of torch, for whatever is given."""

from __future__ import annotations

import torch
from headstart.core.torchvision_import import import_timm
from headstart.finetune.depthwise import QuickDepthwise
from hypothesis import given
from hypothesis import strategies as st

sides = st.integers(5, 9)


def gradients(x, weight, bias, stride, padding, groups, quick):
    x, weight, bias = (t.detach().requires_grad_() for t in (x, weight, bias))
    with torch.autocast("cpu", torch.bfloat16, quick):
        run = torch.nn.functional.conv2d
        if quick:
            with QuickDepthwise():
                y = run(x, weight, bias, stride, padding, groups=groups)
        else:
            y = run(x, weight, bias, stride, padding, groups=groups)
    pull = torch.linspace(-1, 1, y.numel()).reshape(y.shape)
    return y.detach(), *torch.autograd.grad(y, (x, weight, bias), pull.to(y.dtype))


@given(
    st.tuples(sides, sides),
    st.sampled_from([3, 4, 5, 7]),
    st.sampled_from([1, 2, 3, (2, 1)]),
    st.sampled_from([0, 1, (2, 1)]),
    st.sampled_from([2, 6]),
    st.integers(0, 99),
)
def test_gradients_are_those_of_torch(size, kernel, stride, padding, channels, seed):
    generator = torch.Generator().manual_seed(seed)
    pad = min(padding) if isinstance(padding, tuple) else padding
    size = tuple(max(side, kernel - 2 * pad) for side in size)
    x = torch.randn(2, channels, *size, generator=generator)
    weight = torch.randn(channels, 1, kernel, kernel, generator=generator)
    bias = torch.randn(channels, generator=generator)
    given_ = x, weight, bias, stride, padding, channels
    for quick, plain in zip(gradients(*given_, True), gradients(*given_, False), strict=True):
        assert float((quick.float() - plain).norm()) <= 0.02 * float(plain.norm()) + 1e-3


def test_other_convolutions_are_left_alone():
    x, weight = torch.randn(1, 4, 8, 8), torch.randn(4, 2, 5, 5, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16), QuickDepthwise():
        grouped = torch.nn.functional.conv2d(x, weight, padding="same", groups=2)
    assert "Depthwise" not in grouped.grad_fn.name()
    own = torch.randn(4, 1, 5, 5, requires_grad=True)
    with QuickDepthwise():  # in float32 torch's are quick
        exact = torch.nn.functional.conv2d(x, own, groups=4)
    assert "Depthwise" not in exact.grad_fn.name()


def test_layers_of_either_library_use_them():
    layers = (
        torch.nn.Conv2d(4, 4, 5, groups=4),
        import_timm("layers").Conv2dSame(4, 4, 3, stride=2, groups=4),
    )
    for layer in layers:
        with torch.autocast("cpu", torch.bfloat16), QuickDepthwise():
            found = layer(torch.randn(1, 4, 8, 8))
        assert "_Depthwise" in found.grad_fn.name()
