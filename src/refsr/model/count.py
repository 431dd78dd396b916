"""The computational cost of an exported model, counted from its graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from refsr.resize import SCALE

SIDE = 64  # LR pixels of the counted tile; a multiple of every shipped model's grid


def multiplications(path: Path) -> float:
    """Multiply-adds per LR pixel of convolutions (plain, transposed, deformable) and products.

    The graph is run once to get the shape of every tensor. The sampling of deformable convolutions
    and pointwise operations are not counted.
    """
    proto = onnx.load(path)
    kinds = ("Conv", "ConvTranspose", "DeformConv", "MatMul")
    nodes = [node for node in proto.graph.node if node.op_type in kinds]
    weights = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    casts = [node for node in proto.graph.node if node.op_type == "Cast"]  # of 16-bit weights
    weights |= {c.output[0]: weights[c.input[0]] for c in casts if c.input[0] in weights}
    names = sorted({name for node in nodes for name in (node.input[0], node.output[0])})
    known = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    session: Any = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    feed = {
        name: np.zeros((1, channels, SIDE * scale, SIDE * scale), np.float32)
        for name, channels, scale in (("lr", 3, 1), ("ref", 3, SCALE), ("validity", 1, SCALE))
    }
    for value in proto.graph.input:
        if value.name not in feed:  # what a network is told: numbers, no images
            told = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            feed[value.name] = np.zeros(told, np.float32)
    shapes = {name: value.shape for name, value in feed.items()}
    computed = [name for name in names if name not in feed]
    values = session.run(computed, feed)
    shapes |= {name: value.shape for name, value in zip(computed, values, strict=True)}
    total = 0
    for node in nodes:
        into, out = shapes[node.input[0]], shapes[node.output[0]]
        if node.op_type == "MatMul":
            total += int(np.prod(out)) * into[-1]
        elif node.op_type == "ConvTranspose":
            total += int(np.prod(into)) * int(np.prod(weights[node.input[1]][1:]))
        else:
            total += int(np.prod(out)) * int(np.prod(weights[node.input[1]][1:]))
    return total / SIDE**2
