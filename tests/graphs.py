"""Writes small ONNX graphs step by step, as the tools of others would."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper


class Maker:
    """Writes an ONNX graph step by step."""

    def __init__(self, shape, opset=12, kind=TensorProto.FLOAT, ir=7):
        self.kind, self.opset, self.ir, self.shape = kind, opset, ir, shape
        self.nodes, self.constants, self.last = [], [], "data"
        self.rng = np.random.default_rng(5)

    def add(self, op, *constants, **attributes):
        names = []
        for value in constants:
            names.append(f"c{len(self.constants)}")
            self.constants.append(numpy_helper.from_array(np.asarray(value), names[-1]))
        out = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, [self.last, *names], [out], name=out, **attributes))
        self.last = out
        return self

    def conv(self, before, after, side=3, stride=1, **attributes):
        kernel = self.rng.normal(0, (2 / before / side / side) ** 0.5, (after, before, side, side))
        pads = {"pads": [side // 2] * 4} | attributes
        bias = self.rng.normal(0, 0.1, after)
        dtype = {TensorProto.FLOAT16: np.float16}.get(self.kind, np.float32)
        weights = (kernel.astype(dtype), bias.astype(dtype))
        return self.add("Conv", *weights, strides=[stride] * 2, kernel_shape=[side] * 2, **pads)

    def unit(self, before, after, side, stride=1):
        """Convolve, normalise and rectify."""
        self.conv(before, after, side, stride)
        mean, ones = self.rng.normal(0, 0.1, after).astype(np.float32), np.ones(after, np.float32)
        return self.add("BatchNormalization", ones, 0 * ones, mean, ones).add("Relu")

    def join(self, ends):
        """Lay several tensors' channels side by side."""
        self.last = f"concat{len(self.nodes)}"
        self.nodes.append(helper.make_node("Concat", ends, [self.last], name=self.last, axis=1))

    def gemm(self, before, after):
        weight = self.rng.normal(0, before**-0.5, (after, before)).astype(np.float32)
        return self.add("Gemm", weight, np.zeros(after, np.float32), transB=1)

    def model(self, *, outputs=()):
        out = [helper.make_tensor_value_info(name, 1, None) for name in outputs or [self.last]]
        if self.kind == TensorProto.FLOAT16:
            out = [helper.make_tensor_value_info(self.last, self.kind, None)]
        data = helper.make_tensor_value_info("data", self.kind, self.shape)
        graph = helper.make_graph(self.nodes, "g", [data], out, self.constants)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=self.ir
        )
