"""Forward time and memory of a model by size, each size in a fresh process."""

from __future__ import annotations

import multiprocessing
import platform
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from numpy.typing import NDArray

from refsr.evaluate.paper.sections import Section
from refsr.inference.cores import usable_cores
from refsr.inference.network import Device, torch_has_cuda
from refsr.inference.onnx import provider_of
from refsr.resize import SCALE, imresize

# LR width and height: CUFED5's, and those of camera thumbnails; results of 0.2 to 3 megapixels.
SIZES = ((125, 83), (160, 120), (300, 225), (512, 384))
REPEATS = 3  # of which the fastest counts: other work on the machine only adds time


def textured(width: int, height: int) -> NDArray[np.uint8]:
    """A photo-like image (height, width, 3): noise at every scale, the same for each size."""
    rng = np.random.default_rng(width * 10_000 + height)
    image = np.zeros((height, width, 3), np.float32)
    cells = 4
    while cells < max(width, height):
        knots = rng.standard_normal((cells, cells, 3)).astype(np.float32)
        image += cv2.resize(knots, (width, height), interpolation=cv2.INTER_CUBIC) * 60 / cells**0.4
        cells *= 2
    return np.clip(128 + image, 0, 255).astype(np.uint8)


def peak_memory() -> int:
    """Peak resident bytes of this process."""
    with suppress(OSError):  # Linux's ru_maxrss starts at the parent's memory
        for line in Path("/proc/self/status").read_text("utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure_forward(
    model: str, width: int, height: int, device: Device = "cpu"
) -> dict[str, float]:
    """Seconds and bytes of the network alone, on a whole LR photo of this size. Raises ModelError.

    The first run is not counted; bytes are those beyond the loaded model.
    """
    from refsr.inference.network import Network
    from refsr.weights.models import find_model

    hr = textured(width * SCALE, height * SCALE)
    lr = imresize(hr, scale=1 / SCALE).astype(np.float32) / np.float32(255)
    ref, validity = hr.astype(np.float32) / np.float32(255), np.ones(hr.shape[:2], np.float32)
    network = Network(find_model(model), device)
    loaded = peak_memory()
    network.run(lr, ref, validity)
    wall, cpu = min(timed(lambda: network.run(lr, ref, validity)) for _ in range(REPEATS))
    return {"seconds": wall, "cpu_seconds": cpu, "bytes": peak_memory() - loaded}


def measure_pipeline(
    model: str, width: int, height: int, device: Device = "cpu"
) -> dict[str, float]:
    """Seconds and bytes of the whole pipeline with one reference of HR size. Raises ModelError.

    Bytes are those of the whole process, under the default ``max_memory``.
    """
    from refsr.upscaler import Upscaler

    hr = textured(width * SCALE, height * SCALE)
    lr = imresize(hr, scale=1 / SCALE)
    upscaler = Upscaler.load(model, device=device)

    def run() -> None:
        upscaler.set_reference(hr)
        upscaler.upscale(lr)

    wall, cpu = timed(run)
    return {"seconds": wall, "cpu_seconds": cpu, "bytes": peak_memory()}


def timed(job: Callable[[], Any]) -> tuple[float, float]:
    """Wall-clock and CPU seconds of a job."""
    wall, cpu = time.perf_counter(), time.process_time()
    job()
    return time.perf_counter() - wall, time.process_time() - cpu


def has_gpu() -> bool:
    """Whether ONNX Runtime or torch can use an NVIDIA GPU here."""
    return provider_of("cuda") is not None or torch_has_cuda()


def cells(part: dict[str, float]) -> list[str]:
    """Seconds, CPU seconds and megabytes as text."""
    return [
        f"{part['seconds']:.2f}",
        f"{part['cpu_seconds']:.2f}",
        f"{part['bytes'] / 1e6:.0f}",
    ]


def time_sections(
    model: str,
    progress: Callable[[float], None] | None = None,
    sizes: tuple[tuple[int, int], ...] = SIZES,
) -> tuple[list[Section], dict[str, Any]]:
    """A row per size, and all measurements. Raises ModelError."""
    measured: dict[str, Any] = {}
    # A fresh process each: peak memory never falls, so a later, smaller job could not be measured.
    gpu = has_gpu()
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for index, size in enumerate(sizes):
            measured[f"{size[0]} x {size[1]}"] = {
                "forward": pool.apply(measure_forward, (model, *size)),
                "road": pool.apply(measure_pipeline, (model, *size)),  # the key of the JSON file
            }
            if gpu:
                measured[f"{size[0]} x {size[1]}"] |= {
                    "forward, GPU": pool.apply(measure_forward, (model, *size, "cuda")),
                    "pipeline, GPU": pool.apply(measure_pipeline, (model, *size, "cuda")),
                }
            if progress:
                progress((index + 1) / len(sizes))
    rows = [
        [size, *(cell for part in parts.values() for cell in cells(part))]
        for size, parts in measured.items()
    ]
    columns = ("s", "CPU s", "MB")
    parts = ("forward", "pipeline", *(("forward, GPU", "pipeline, GPU") if gpu else ()))
    head = ["LR photo", *(f"{part} {column}" for part in parts for column in columns)]
    cores = usable_cores()
    notes = [
        f"{model} by ONNX Runtime on the processor: {cores} cores of {platform.machine()}, "
        f"{platform.system()}; other work on the machine adds to the seconds, less to CPU seconds.",
        f"Forward: the network alone, the whole photo at once, fastest of {REPEATS} after a "
        "warm-up run; MB beyond the loaded model.",
        "Pipeline: features of one reference as large as the result, registration, network in "
        "tiles, back-projection, once; MB of the whole process. The photo is a synthetic texture, "
        "all of which matches.",
        "GPU: the network there, the rest on the processor."
        if gpu
        else "There is no NVIDIA GPU that ONNX Runtime or torch could use here: no GPU times.",
    ]
    return [Section(f"Ours: {model}", head, rows, notes)], measured
