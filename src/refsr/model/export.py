"""Exports the network to ONNX, with standard operators and dynamic sizes, and its card."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnxscript import opset20
from torch import Tensor, nn

from refsr.errors import ModelError
from refsr.model.checkpoint import load_weights
from refsr.model.config import SSENConfig
from refsr.model.deform import TAPS
from refsr.model.ssen import SSEN
from refsr.resize import SCALE

OPSET = 20  # includes DeformConv (19); runtimes do not all support Attention (23) yet


def translate_deform_conv(x: Any, offset: Any, modulation: Any, weight: Any, bias: Any) -> Any:
    """Translates ``refsr::deform_conv2d`` to ONNX's DeformConv."""
    pads, groups = [1, 1, 1, 1], int(modulation.shape[1]) // TAPS
    return opset20.DeformConv(
        x, weight, offset, bias, modulation, kernel_shape=[3, 3], pads=pads, offset_group=groups
    )


class ExportedSSEN(nn.Module):
    """The exported network: SSEN with every layer's offsets and modulation as extra outputs.

    And, where it has no self-reference, ``sr_alone``: without a reference, at half the cost.
    """

    def __init__(self, model: SSEN) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, lr: Tensor, ref: Tensor, validity: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """sr and gate as ``SSEN.forward``, then offset and modulation of each layer."""
        sr, gate, samples = self.model.explain(lr, ref, validity, condition)
        outputs = sr, gate, *(tensor for pair in samples for tensor in pair)
        if self.model.config.self_reference:
            return outputs
        return *outputs, self.model.without_reference(lr, condition)[0]


def output_names(config: SSENConfig) -> list[str]:
    """The graph's outputs: sr, gate, offset_1, modulation_1, ... of each deformable layer."""
    layers = range(1, config.deform_layers + 1)
    pairs = [(f"offset_{index}", f"modulation_{index}") for index in layers]
    alone = [] if config.self_reference else ["sr_alone"]
    return ["sr", "gate", *(name for pair in pairs for name in pair), *alone]


def input_names(model: SSEN) -> list[str]:
    """The graph's inputs."""
    return ["lr", "ref", "validity", *(["condition"] if model.config.conditions else [])]


def example_inputs(model: SSEN, rows: int, columns: int) -> tuple[Tensor, ...]:
    """Random inputs, as of ``input_names``, of rows x columns cells of the network's grid."""
    height, width = rows * model.config.multiple, columns * model.config.multiple
    generator = torch.Generator().manual_seed(rows * 31 + columns)
    shapes = [(3, 1), (3, SCALE), (1, SCALE)]
    images = tuple(
        torch.rand(1, channels, height * scale, width * scale, generator=generator)
        for channels, scale in shapes
    )
    if not model.config.conditions:
        return images
    return *images, torch.rand(1, model.config.conditions, 1, 1, generator=generator)


def export(model: SSEN, path: Path, card: dict[str, Any], half: bool = False) -> float:
    """Write ``model`` as ``path`` (.onnx) with its card (.json) beside it.

    ``half``: store the weights as float16, which halves the file, and round those of ``model``,
    too. All computations stay float32.

    The graph takes lr (1, 3, H, W), ref (1, 3, 4H, 4W), validity (1, 1, 4H, 4W), float32 in 0..1,
    H and W multiples of the card's ``multiple``, and condition (1, 5, 1, 1) where the card says
    ``conditions``. Its outputs are sr, gate and those of
    ``SSEN.explain`` (``output_names``). Returns the largest difference of sr and gate to torch over
    two sizes that were not traced; raises ModelError above 1e-4.
    """
    model = model.eval().cpu()
    if half:
        with torch.no_grad():
            for value in model.parameters():
                value.copy_(value.half())
    model.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]  # torch's stubs lack it
    step = model.config.multiple
    rows, columns = (
        torch.export.Dim("rows", min=1, max=4096),
        torch.export.Dim("columns", min=1, max=4096),
    )
    hr = {2: step * SCALE * rows, 3: step * SCALE * columns}
    shapes: dict[str, Any] = {"lr": {2: step * rows, 3: step * columns}, "ref": hr, "validity": hr}
    if model.config.conditions:
        shapes["condition"] = {}
    program = torch.onnx.export(
        ExportedSSEN(model).eval(),
        example_inputs(model, 2, 3),
        dynamo=True,
        opset_version=OPSET,
        input_names=input_names(model),
        output_names=output_names(model.config),
        dynamic_shapes=shapes,
        custom_translation_table={torch.ops.refsr.deform_conv2d.default: translate_deform_conv},
        verbose=False,
    )
    assert program is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    proto = strip_metadata(program.model_proto)
    onnx.save(store_half(proto) if half else proto, path)
    error = max_difference(model, path)
    if error > 1e-4:
        raise ModelError(f"{path} differs from torch by {error:.1e}, more than 1e-4.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    parameters = sum(value.numel() for value in model.parameters())
    facts = {"name": path.stem, "scale": SCALE, "multiple": step, "parameters": parameters}
    facts["deform_layers"] = model.config.deform_layers
    facts["conditions"] = model.config.conditions
    facts["self_reference"] = model.config.self_reference
    path.with_suffix(".json").write_text(
        json.dumps(facts | card | {"sha256": digest}, indent=1) + "\n"
    )
    return error


def strip_metadata(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Remove the exporter's metadata, which holds source paths and stack traces."""
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        del value.metadata_props[:]
        value.doc_string = ""
    for tensor in proto.graph.initializer:
        del tensor.metadata_props[:]
    del proto.metadata_props[:], proto.graph.metadata_props[:]
    return proto


def store_half(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Store the weights as float16, each followed by a Cast to float32.

    Runtimes fold the casts on loading. Constants that float16 cannot represent stay float32.
    """
    graph, casts = proto.graph, list[onnx.NodeProto]()
    for tensor in graph.initializer:
        value = onnx.numpy_helper.to_array(tensor)
        if value.dtype != np.float32 or (value != value.astype(np.float16)).any():
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(value.astype(np.float16), name))
        casts.append(
            onnx.helper.make_node("Cast", [name], [f"{name}.float32"], to=onnx.TensorProto.FLOAT)
        )
    outputs = {cast.input[0]: cast.output[0] for cast in casts}
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = outputs.get(name, name)
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return proto


def max_difference(model: SSEN, path: Path) -> float:
    """The largest absolute difference between ONNX Runtime and torch, over sr and gate."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = 0.0
    for rows, columns in ((1, 1), (3, 2)):
        inputs = example_inputs(model, rows, columns)
        with torch.no_grad():
            expected = model(*inputs)
        names = input_names(model)
        feed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        wanted = ["sr", "gate"]
        if not model.config.self_reference:
            with torch.no_grad():
                expected = *expected, model.without_reference(inputs[0], *inputs[3:])[0]
            wanted.append("sr_alone")
        for ours, theirs in zip(session.run(wanted, feed), expected, strict=True):
            worst = max(worst, float(np.abs(np.asarray(ours) - theirs.numpy()).max()))
    return worst


def export_checkpoint(checkpoint: Path, path: Path, note: str = "", half: bool = False) -> float:
    """Export a training checkpoint with its metadata in the card.

    ``half``: see ``export``. Returns the difference to torch. Raises ModelError for a damaged
    checkpoint or a path that does not end in .onnx.
    """
    if path.suffix != ".onnx":
        raise ModelError(f"The name of an exported model must end in .onnx, not {path}.")
    model, metadata = load_weights(checkpoint)
    # Back-projection would restore the degradation that the model was trained to remove.
    faithful = metadata.get("degraded", 0.0) == 0.0
    return export(model, path, {"note": note, "faithful": faithful, "training": metadata}, half)
