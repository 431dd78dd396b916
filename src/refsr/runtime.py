"""Running the network: one tile in, one tile out, whatever executes it."""

from __future__ import annotations

import os
import time
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from refsr.errors import ModelError
from refsr.memory import give_back, resident
from refsr.resize import SCALE
from refsr.weights import Model

ERRORS_ONLY = 4  # fatal, of ONNX Runtime's log levels: what fails is raised, not printed
Device = Literal["auto", "cpu", "cuda"]
LEAST_BYTES = 8_000  # memory per LR pixel that is counted on, whatever a small tile took
PROBE = 64  # LR pixels a side of the tile that memory and speed are measured with
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

Image = NDArray[np.float32]


def pick_provider(device: Device) -> str:
    """The ONNX Runtime provider for ``device``. Raises ModelError where it is not installed."""
    import onnxruntime

    installed = cast("list[str]", onnxruntime.get_available_providers())
    if device != "auto" and device not in PROVIDERS:
        raise ModelError(f"There is no device {device!r}; there are: auto, {', '.join(PROVIDERS)}.")
    if device == "auto":
        return next(p for p in (PROVIDERS["cuda"], PROVIDERS["cpu"]) if p in installed)
    if PROVIDERS[device] not in installed:
        raise ModelError(
            f"ONNX Runtime has no {device} support here; "
            "install onnxruntime-gpu or use --device cpu."
        )
    return PROVIDERS[device]


class Network:
    """A loaded model. ``run`` may be called from several threads."""

    passes = 1  # over a tile; see ``refsr.looks.TileNetwork``

    def __init__(self, model: Model, device: Device = "auto", threads: int = 0) -> None:
        """``threads``: of the processor, 0 for all. Raises ModelError where loading fails."""
        import onnxruntime

        if threads < 0:
            raise ModelError(f"{threads} threads do not exist; give 0 for all cores.")
        onnxruntime.set_default_logger_severity(ERRORS_ONLY)
        self.model, self.provider = model, pick_provider(device)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
        options.log_severity_level = ERRORS_ONLY
        options.enable_mem_pattern = False  # its plans take a third more memory and no less time
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self.session: Any = onnxruntime.InferenceSession(
                str(model.path),
                options,
                providers=[self.provider],
                enable_fallback=0,  # it would print, and try the same again
            )
        except Exception as error:  # onnxruntime's own exceptions share no base
            raise ModelError(
                f"{model.path} is no model that ONNX Runtime can load; export it again."
            ) from error
        self.giving_back = onnxruntime.RunOptions()
        arena = "cpu:0;gpu:0" if self.provider == PROVIDERS["cuda"] else "cpu:0"
        self.giving_back.add_run_config_entry("memory.enable_memory_arena_shrinkage", arena)
        self.cost: tuple[float, float] | None = None

    def probe(self) -> tuple[float, float]:
        """Bytes of memory and seconds that one LR pixel takes here, by running one small tile."""
        if self.cost is None:
            side = PROBE * SCALE
            tile = np.zeros((PROBE, PROBE, 3), np.float32), np.zeros((side, side, 3), np.float32)
            nowhere = np.zeros((side, side), np.float32)
            give_back()  # or the tile would find its memory among what is held already
            before = resident()
            self.run(*tile, nowhere)  # its memory stays until it is given back
            taken = max(resident() - before, LEAST_BYTES * PROBE**2)
            started = time.perf_counter()
            self.run(*tile, nowhere)
            each = -(-taken // PROBE**2 // 1000) * 1000  # rounded: the same tiles every time
            self.cost = float(each), (time.perf_counter() - started) / PROBE**2
        return self.cost

    def run(
        self,
        lr: Image,  # (h, w, 3) RGB 0..1
        ref: Image,  # (4h, 4w, 3) RGB 0..1, aligned
        validity: Image,  # (4h, 4w) 0..1
        release: bool = False,
    ) -> tuple[Image, Image]:
        """SR (4h, 4w, 3), about 0..1, and the gate of the reference's HR detail (4h, 4w), 0..1.

        Sizes are padded to the network's grid by repeating the border. The memory that a run took
        is kept for the next one, unless it is to be given back: ``release``. Raises MemoryError.
        """
        height, width = lr.shape[:2]
        down, right = -height % self.model.multiple, -width % self.model.multiple

        def nchw(image: Image, scale: int) -> Image:
            image = image if image.ndim == 3 else image[..., None]
            image = np.pad(image, ((0, down * scale), (0, right * scale), (0, 0)), "edge")
            return np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)

        feed = {"lr": nchw(lr, 1), "ref": nchw(ref, SCALE), "validity": nchw(validity, SCALE)}
        try:
            sr, gate = self.session.run(["sr", "gate"], feed, self.giving_back if release else None)
        except Exception as error:
            if "alloc" in str(error).lower():
                raise MemoryError(str(error)) from error
            words = " ".join(str(error).split()).rstrip(".")
            raise ModelError(f"The model {self.model.name} failed: {words}.") from error
        rows, columns = slice(0, height * SCALE), slice(0, width * SCALE)
        return sr[0, :, rows, columns].transpose(1, 2, 0), gate[0, 0, rows, columns]
