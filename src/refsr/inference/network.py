"""Running the network on one tile at a time, in any of the runtimes.

A runtime is a ``Session``, in ``onnx.py``, ``openvino.py`` or ``torch.py``. Its library is imported
only when it is chosen.
"""

from __future__ import annotations

import importlib.util
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np

from refsr.arrays import Image, network_input
from refsr.degradation.condition import nothing_told
from refsr.errors import ModelError
from refsr.inference.cores import usable_cores
from refsr.inference.memory import resident, trim_heap
from refsr.resize import SCALE
from refsr.weights.models import Model

Device = Literal["auto", "cpu", "cuda", "mps"]
Inputs = Mapping[str, Image]
Runtime = Literal["auto", "onnx", "openvino", "torch"]
PROBE = 64  # LR pixels a side of the tile that memory and speed are measured on
BF16_FLAGS = {"avx512_bf16", "amx_bf16"}  # Linux's names of a processor's bfloat16 instructions
PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "torch"}


class Session(Protocol):
    """A loaded model in a runtime."""

    provider: str  # runtime, device and precision, for the report
    least_bytes: int  # of memory per LR pixel to reserve, however little a small tile took
    program_bytes: int  # of memory beside the tiles, beyond what ONNX Runtime takes

    def run(self, inputs: Inputs, release: bool) -> tuple[Image, Image]:
        """sr (1, 3, 4H, 4W) and gate (1, 1, 4H, 4W) of one tile, float32.

        ``inputs``: "lr" (1, 3, H, W), "ref" (1, 3, 4H, 4W), "validity" (1, 1, 4H, 4W), float32
        0..1, H and W multiples of the model's grid; "condition" (1, 5, 1, 1) of a model that has
        conditions. Without "ref" and "validity": what a model without self-reference makes of a
        photo alone. ``release``: free the runtime's memory afterwards.

        Raises whatever the runtime raises.
        """
        ...


class Network:
    """A loaded model. ``run`` may be called from several threads."""

    passes = 1  # forward passes per tile; see ``refsr.inference.ensemble.TileNetwork``

    def __init__(
        self,
        model: Model,
        device: Device = "auto",
        threads: int = 0,
        runtime: Runtime = "auto",
        concurrency: int = 1,
    ) -> None:
        """``threads``: processor threads of each call; 0, or more than there are cores, for all.
        ``concurrency``: how many callers ``run`` has at the same time; with some runtimes, further
        ones wait.

        Where runtime and device are "auto" and the one picked does not load, ONNX Runtime on the
        processor takes its place, and ``notes`` says so. Raises ModelError where loading fails.
        """
        if threads < 0:
            raise ModelError(f"threads must be 0 (all cores) or more, not {threads}.")
        check_names(runtime, device)
        self.model, self.notes = model, list[str]()
        picked = pick_runtime(device) if runtime == "auto" else runtime
        cores = usable_cores()
        threads = min(threads or cores, cores)
        try:
            self.session = open_session(picked, model, device, threads, concurrency)
        except ModelError as error:
            if runtime != "auto" or device != "auto":
                raise
            self.session = open_session("onnx", model, "cpu", threads, concurrency)
            self.notes.append(f"run by ONNX Runtime on the processor: {error}")
        self.cost: tuple[float, float] | None = None

    @property
    def provider(self) -> str:
        """Runtime, device and precision, for the report."""
        return self.session.provider

    @property
    def program_bytes(self) -> int:
        """Memory that the runtime takes beside the tiles, beyond what ONNX Runtime takes."""
        return self.session.program_bytes

    def probe(self) -> tuple[float, float]:
        """Bytes of memory and seconds per LR pixel on this machine, measured on one small tile."""
        if self.cost is None:
            # What is allocated once is no part of a pixel's memory.
            self.run(*black(self.model.multiple), release=True)
            trim_heap()  # or the tile would reuse memory that is held already
            before = resident()
            self.pace()  # its memory is kept until released
            taken = max(resident() - before, self.session.least_bytes * PROBE**2)
            each = round(taken / PROBE**2 / 1000) * 1000  # rounded: the same tiles every time
            self.cost = float(each), self.pace()
        return self.cost

    def pace(self, side: int = PROBE) -> float:
        """Seconds per LR pixel of a tile of ``side`` x ``side`` LR pixels, measured now."""
        tile = black(side)
        started = time.perf_counter()
        self.run(*tile)
        return (time.perf_counter() - started) / side**2

    def run(
        self,
        lr: Image,  # (h, w, 3) RGB 0..1
        ref: Image,  # (4h, 4w, 3) RGB 0..1, aligned
        validity: Image,  # (4h, 4w) 0..1
        release: bool = False,
        condition: Image | None = None,  # (5,), what the network is told of the photo
    ) -> tuple[Image, Image]:
        """SR (4h, 4w, 3), about 0..1, and the gate of the reference's HR detail (4h, 4w), 0..1.

        Sizes are padded to the network's grid by repeating the border. Memory is kept for the next
        run unless ``release``. A network without conditions ignores ``condition``; one without
        self-reference takes half the time where ``validity`` is zero everywhere.

        Raises MemoryError, or ModelError where the runtime fails.
        """
        height, width = lr.shape[:2]
        given = self.model.self_reference or bool(validity.any())
        inputs = model_inputs(self.model, lr, (ref, validity) if given else None, condition)
        try:
            sr, gate = self.session.run(inputs, release)
        except Exception as error:
            if any(word in str(error).lower() for word in ("alloc", "out of memory")):
                raise MemoryError(str(error)) from error
            words = " ".join(str(error).split()).rstrip(".")
            raise ModelError(f"The model {self.model.name} failed: {words}.") from error
        self.check_outputs(inputs["lr"].shape, sr.shape, gate.shape)
        rows, columns = slice(0, height * SCALE), slice(0, width * SCALE)
        return sr[0, :, rows, columns].transpose(1, 2, 0), gate[0, 0, rows, columns]

    def check_outputs(
        self, lr: tuple[int, ...], sr: tuple[int, ...], gate: tuple[int, ...]
    ) -> None:
        """Raises ModelError where the shapes of the outputs do not fit that of the input."""
        (height, width) = (side * SCALE for side in lr[2:])
        for name, shape, wanted in (("sr", sr, (1, 3)), ("gate", gate, (1, 1))):
            if tuple(shape) != (*wanted, height, width):
                raise ModelError(
                    f"The model {self.model.name} gives {name} as {tuple(shape)} for a tile of "
                    f"{lr[2]} x {lr[3]} pixels, not {(*wanted, height, width)}; it is no network "
                    f"that enlarges {SCALE} times."
                )


def model_inputs(
    model: Model, lr: Image, given: tuple[Image, Image] | None, condition: Image | None
) -> Inputs:
    """The inputs of a ``Session``, padded to the model's grid; arguments as for ``Network.run``.

    ``given``: the reference and its validity; None leaves them out.
    """
    inputs = {"lr": network_input(lr, model.multiple)}
    for name, image in zip(("ref", "validity"), given or (), strict=False):
        inputs[name] = network_input(image, SCALE * model.multiple)
    if model.conditions:
        told = nothing_told() if condition is None else condition
        inputs["condition"] = told.reshape(1, -1, 1, 1)
    return inputs


def black(side: int) -> tuple[Image, Image, Image]:
    """LR, reference and validity of a black tile of ``side`` x ``side`` LR pixels."""
    hr = side * SCALE
    lr, ref = (np.zeros((length, length, 3), np.float32) for length in (side, hr))
    return lr, ref, np.ones((hr, hr), np.float32)


def check_names(runtime: str, device: str) -> None:
    """Raises ModelError for an unknown runtime or device."""
    for kind, name, names in (
        ("runtime", runtime, get_args(Runtime)),
        ("device", device, get_args(Device)),
    ):
        if name not in names:
            raise ModelError(f"There is no {kind} {name!r}; there are: {', '.join(names)}.")


def pick_runtime(device: Device) -> Runtime:
    """The runtime for "auto"; measured in docs/BENCHMARKS.md.

    ONNX Runtime, except on a processor with bfloat16, where OpenVINO takes half the time; on an
    NVIDIA GPU that torch supports and this ONNX Runtime does not; and on Apple's ``mps``. On other
    processors OpenVINO is a tenth faster and takes a second longer to load.
    """
    from refsr.inference.onnx import provider_of

    if device == "mps":
        return "torch" if installed("torch") else "onnx"
    on_gpu = provider_of(device) is not None and provider_of(device) != provider_of("cpu")
    if device != "cpu" and not on_gpu and torch_has_cuda():
        return "torch"
    if device in ("auto", "cpu") and not on_gpu and has_bf16() and installed("openvino"):
        return "openvino"
    return "onnx"


def describe_runtimes() -> dict[str, Any]:
    """For `refsr info`: the installed runtimes, the one that "auto" picks, and bfloat16."""
    return {
        "runtimes": [name for name in PACKAGES if installed(name)],
        "auto": pick_runtime("auto"),
        "bfloat16": "yes" if has_bf16() else "no",
    }


def open_session(
    runtime: Runtime, model: Model, device: Device, threads: int, concurrency: int
) -> Session:
    """Load a model in a runtime. Raises ModelError."""
    if not installed(runtime):
        extra = {"torch": "train", "openvino": "openvino"}.get(runtime)
        what = f"'refsr[{extra}]'" if extra else "onnxruntime"
        raise ModelError(f"{runtime} is not installed; install it with: pip install {what}")
    if runtime == "openvino":
        from refsr.inference.openvino import OpenVinoSession

        return OpenVinoSession(model, device, threads, concurrency)
    if runtime == "torch":
        from refsr.inference.torch import TorchSession

        return TorchSession(model, device, threads)
    from refsr.inference.onnx import OnnxSession

    return OnnxSession(model, device, threads)


def installed(runtime: str) -> bool:
    """Whether a runtime's package is installed; it is not imported."""
    return importlib.util.find_spec(PACKAGES[runtime]) is not None


def has_bf16() -> bool:
    """Whether this processor computes in bfloat16; False where the system does not say."""
    try:
        words = set(Path("/proc/cpuinfo").read_text("utf-8").split())
    except OSError:
        return False
    return bool(BF16_FLAGS & words)


def torch_has_cuda() -> bool:
    """Whether torch can use an NVIDIA GPU; torch is imported only where there may be one."""
    possible = Path("/dev/nvidiactl").exists() or platform.system() == "Windows"
    if not (possible and installed("torch")):
        return False
    import torch

    return torch.cuda.is_available()
