"""What a model computes: the multiplications in an exported graph, counted and not timed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from refsr.resize import SCALE

SIDE = 64  # LR pixels a side of the tile that is counted; a multiple of every shipped model's grid


def multiplications(path: Path) -> float:
    """Multiply-adds per LR pixel of convolutions (plain, transposed, deformable) and products.

    The graph is run once, since only that tells the size of every map in it. What a deformable
    convolution takes to sample, and all that works pixel by pixel, is not counted.
    """
    proto = onnx.load(path)
    kinds = ("Conv", "ConvTranspose", "DeformConv", "MatMul")
    nodes = [node for node in proto.graph.node if node.op_type in kinds]
    weights = {one.name: tuple(one.dims) for one in proto.graph.initializer}
    casts = [node for node in proto.graph.node if node.op_type == "Cast"]  # of 16-bit weights
    weights |= {one.output[0]: weights[one.input[0]] for one in casts if one.input[0] in weights}
    asked = sorted({name for node in nodes for name in (node.input[0], node.output[0])})
    known = {one.name for one in (*proto.graph.input, *proto.graph.output)}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in asked if name not in known)
    session: Any = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    feed = {
        name: np.zeros((1, channels, SIDE * scale, SIDE * scale), np.float32)
        for name, channels, scale in (("lr", 3, 1), ("ref", 3, SCALE), ("validity", 1, SCALE))
    }
    shapes = {name: value.shape for name, value in feed.items()}
    there = [name for name in asked if name not in feed]
    found = session.run(there, feed)
    shapes |= {name: value.shape for name, value in zip(there, found, strict=True)}
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
