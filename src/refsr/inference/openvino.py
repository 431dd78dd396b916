"""OpenVINO on the processor: in float32, or in bfloat16 where the processor supports it.

In bfloat16 the graph computes only the network's residual and gate; the base that they are added to
is computed here in float32, since bfloat16's eight bits are too few for a photo's levels.
"""

from __future__ import annotations

import importlib
import sys
import threading
from typing import Any, cast

import cv2
import numpy as np

from refsr.arrays import Image
from refsr.errors import ModelError
from refsr.inference.network import Inputs
from refsr.resize import SCALE, imresize
from refsr.weights.models import Model


class OpenVinoSession:
    """A model in OpenVINO; see ``refsr.inference.network.Session``."""

    least_bytes = 8_000
    program_bytes = 120_000_000

    def __init__(
        self,
        model: Model,
        device: str,
        threads: int,
        concurrency: int = 1,
        precision: str | None = None,
    ) -> None:
        """``threads``: of each of ``concurrency`` callers; further callers wait.
        ``precision``: "f32" or "bf16"; by default "bf16" where the processor supports it.

        Raises ModelError where the model does not load.
        """
        openvino = import_openvino()
        make_graph: Any = openvino.Model  # its two type stubs disagree
        if device not in ("auto", "cpu"):
            raise ModelError(f"refsr runs OpenVINO on the processor only, not on {device}.")
        try:
            core: Any = openvino.Core()
            core.add_extension(deform_conv_extension())
            if precision is None:
                abilities = cast("list[str]", core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
                precision = "bf16" if "BF16" in abilities else "f32"
            read: Any = core.read_model(str(model.path))
            self.split = precision == "bf16"
            settings = {
                "INFERENCE_PRECISION_HINT": precision,  # its default may be bfloat16
                "INFERENCE_NUM_THREADS": concurrency * threads,
                "NUM_STREAMS": concurrency,
                "ENABLE_CPU_PINNING": False,  # or concurrent programs share a core
                "PERFORMANCE_HINT": "LATENCY",
            }

            def compile_part(names: list[str], inputs: list[Any]) -> Any:
                """The part of the graph that computes some of its outputs."""
                outputs = [read.output(name) for name in names]
                if self.split:
                    outputs[0] = residual_of(outputs[0])
                return core.compile_model(make_graph(outputs, inputs, model.name), "CPU", settings)

            inputs = read.get_parameters()
            self.compiled: Any = compile_part(["sr", "gate"], inputs)
            self.compiled_alone: Any = None  # without a reference
            if not model.self_reference:
                unread = "ref", "validity"
                read_too = [one for one in inputs if one.get_friendly_name() not in unread]
                self.compiled_alone = compile_part(["sr_alone"], read_too)
        except ModelError:
            raise
        except Exception as error:  # OpenVINO raises plain RuntimeErrors
            raise ModelError(
                f"{model.path} is not a model that OpenVINO can load; export it again, or use "
                "--runtime onnx."
            ) from error
        self.provider = f"openvino, CPU {precision}"
        self.lock, self.running = threading.Lock(), 0  # calls in progress

    def run(self, inputs: Inputs, release: bool) -> tuple[Image, Image]:
        """See ``network.Session.run``. Thread-safe: each call has a request of its own."""
        alone = "ref" not in inputs
        compiled = self.compiled_alone if alone else self.compiled
        with self.lock:
            self.running += 1
        try:
            request: Any = compiled.create_infer_request()
            request.infer(dict(inputs), share_inputs=True)
            outputs = [request.get_output_tensor(index).data.copy() for index in range(2 - alone)]
            del request
        finally:
            with self.lock:  # no call begins meanwhile: memory in use cannot be released
                self.running -= 1
                if release and not self.running:
                    compiled.release_memory()
        first, gate = (*outputs, np.zeros_like(outputs[0][:, :1])) if alone else outputs
        if self.split:
            first = add_to_base(first, gate, inputs)
        return first, gate


def import_openvino() -> Any:
    """The package openvino, without its telemetry.

    Its import sends an event to Intel through openvino_telemetry, which is optional.
    """
    modules = cast("dict[str, Any]", sys.modules)
    if "openvino" not in modules and "openvino_telemetry" not in modules:
        modules["openvino_telemetry"] = None  # makes its import fail
        try:
            return importlib.import_module("openvino")
        finally:
            del modules["openvino_telemetry"]
    return importlib.import_module("openvino")


def deform_conv_extension() -> Any:
    """ONNX's DeformConv as OpenVINO's DeformableConvolution-8: its ONNX reader has none."""
    import openvino.opset8 as ops
    from openvino.frontend.onnx import ConversionExtension

    def convert(node: Any) -> Any:
        """The outputs of one converted node."""
        x, weight, offset, bias, modulation = (node.get_input(index) for index in range(5))
        top, left, bottom, right = node.get_attribute("pads")
        sampled: Any = ops.deformable_convolution(
            x,
            offset,
            weight,
            [1, 1],
            [top, left],
            [bottom, right],
            [1, 1],
            modulation,
            deformable_group=int(node.get_attribute("offset_group", 1)),
            bilinear_interpolation_pad=True,  # zeros outside the map, as in ONNX
        )
        axes = ops.constant(np.array([0, 2, 3], np.int64))
        return ops.add(sampled, ops.unsqueeze(bias, axes)).outputs()

    return ConversionExtension("DeformConv", "", convert)


def residual_of(output: Any) -> Any:
    """The residual of an output whose last sums are base + residual [+ gate * detail].

    Raises ModelError where the graph does not end in them.
    """
    node = output.get_node().input_value(0).get_node()
    while node.get_type_name() == "Add":
        sides = [node.input_value(index).get_node() for index in (0, 1)]
        split = [side for side in sides if "Split" in side.get_type_name()]
        if split:
            position = sides.index(split[0])
            return node.input_value(position)
        sums = [side for side in sides if side.get_type_name() == "Add"]
        node = sums[0] if sums else sides[0]
    raise ModelError("This model's graph does not end as refsr's models do; use --runtime onnx.")


def add_to_base(residual: Image, gate: Image, inputs: Inputs) -> Image:
    """base + residual [+ gate * (ref - base) * validity] in float32: (1, 3, 4H, 4W).

    The network's gate contains the validity already, and its detail contains it once more.
    """
    base = imresize(np.ascontiguousarray(inputs["lr"][0].transpose(1, 2, 0)), scale=float(SCALE))
    sr = np.ascontiguousarray(base.transpose(2, 0, 1))[None]
    if "ref" not in inputs:
        return sr + residual
    share = cv2.multiply(gate[0, 0], inputs["validity"][0, 0])
    return sr + residual + share * (inputs["ref"] - sr)
