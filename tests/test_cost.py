"""What a job costs, counted and not timed: CI fails where operations or memory grow.

The limits are a little above what was measured when they were written; docs/BENCHMARKS.md has the
seconds. Who makes something cheaper lowers them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refsr import Upscaler
from refsr.evaluate.paper.time import textured
from refsr.image.tiling import cut
from refsr.inference import plan
from refsr.inference.network import Network
from refsr.inference.onnx import OnnxSession
from refsr.inference.plan import JobSize, compute_budget
from refsr.registration import flow, matching
from refsr.registration.enlarged_copy import MARGIN
from refsr.registration.fusion import CELL, CELLS
from refsr.resize import imresize
from refsr.weights.models import FOLDER, SMALL, shipped

MULTIPLICATIONS = 1.95e6  # of the network, per LR pixel
FLOW, FEATURES = 5.5, 8.5  # pixels of registration, per LR pixel of an easy photo of 256 x 192
PEAK = 1_000_000_000  # bytes of a whole job at LR 256 x 192; 730 MB measured


@pytest.mark.parametrize("name", shipped())
def test_the_network_multiplies_no_more(name: str) -> None:
    pytest.importorskip("onnx")
    from refsr.model.count import multiplications

    assert multiplications(FOLDER / f"{name}.onnx") < MULTIPLICATIONS


def test_counting_is_right_for_one_convolution(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from refsr.model.count import multiplications

    weight = onnx.numpy_helper.from_array(np.zeros((8, 3, 3, 3), np.float32), "w")
    node = onnx.helper.make_node("Conv", ["lr", "w"], ["y"], pads=[1, 1, 1, 1], strides=[2, 2])
    named = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, channels, *"hw"])
        for name, channels in (("lr", 3), ("ref", 3), ("validity", 1), ("y", 8))
    ]
    for value, sign in zip(named, "ABCD", strict=True):
        for index in (2, 3):
            value.type.tensor_type.shape.dim[index].dim_param = f"{sign}{index}"
    graph = onnx.helper.make_graph([node], "one", named[:3], named[3:], [weight])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])
    model.ir_version = 10
    onnx.save(model, tmp_path / "one.onnx")
    assert multiplications(tmp_path / "one.onnx") == 8 * 3 * 9 / 4


@pytest.mark.parametrize(
    ("width", "height", "waste"),
    [(512, 384, 0.07), (1024, 768, 0.13), (1500, 1000, 0.15), (2048, 1536, 0.19)],
)
def test_halos_waste_little(width: int, height: int, waste: float) -> None:
    """With 1.5 GB of memory, of which a reference of 12 megapixels holds 90 MB."""
    job = JobSize(height, width, 3, 4, (), other_bytes=90_000_000)
    tile = compute_budget(job, 1_500_000_000, OnnxSession.least_bytes).tile_pixels
    tiles = cut(height, width, plan.TILE_HALO, 32, tile)
    assert sum(one.pixels for one in tiles) / (width * height) < 1 + waste


def test_registration_looks_at_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels that flow and features are computed on, and that the network is asked for."""
    seen = {"flow": 0, "features": 0, "network": 0, "looked at": 0}
    dis, detect, run = flow.dis_flow, matching.detect, Network.run

    def counted_flow(source: Any, target: Any, finest: int = 0) -> Any:
        seen["flow"] += source.size >> (2 * finest)
        return dis(source, target, finest)

    def counted_features(gray: Any, *rest: Any) -> Any:
        seen["features"] += gray.size
        return detect(gray, *rest)

    def counted_run(self: Network, lr: Any, *rest: Any, **named: Any) -> Any:
        seen["looked at" if self.model.name == SMALL else "network"] += lr.shape[0] * lr.shape[1]
        return run(self, lr, *rest, **named)

    hr = textured(1024, 768)
    lr = imresize(hr, scale=0.25)
    upscaler = Upscaler.load("ssen", device="cpu", max_memory="1.5GB")
    upscaler.set_reference(hr)
    monkeypatch.setattr(flow, "dis_flow", counted_flow)
    monkeypatch.setattr(matching, "detect", counted_features)
    monkeypatch.setattr(Network, "run", counted_run)
    plan.flow_speed()  # measured once a process
    seen["flow"] = 0
    upscaler.upscale(lr)
    pixels = lr.shape[0] * lr.shape[1]
    assert seen["flow"] / pixels <= FLOW
    assert seen["features"] / pixels <= FEATURES
    assert seen["network"] == pixels
    assert seen["looked at"] <= CELLS * (CELL + 2 * MARGIN) ** 2  # for a copy of the photo


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from Linux's /proc")
def test_a_tile_takes_no_more_than_is_counted_on(tmp_path: Path) -> None:
    code = """
import numpy as np
from refsr.evaluate.paper.time import peak_memory
from refsr.inference.memory import resident
from refsr.inference.network import Network
from refsr.weights.models import find_model

network = Network(find_model("ssen"), "cpu", 1, "onnx")
side = 192
tile = [np.full((4 * side, 4 * side, 3)[: 3 - flat], 0.5, np.float32) for flat in (0, 1)]
before = resident()
network.run(np.full((side, side, 3), 0.5, np.float32), *tile)
print((peak_memory() - before) / side**2)
"""
    taken = float(answer_of(code, tmp_path))
    copies = 2 * 4 * (3 + 16 * 4)  # of what the network is given, among the pictures beside it
    assert taken < OnnxSession.least_bytes + copies


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from Linux's /proc")
def test_peak_memory_of_a_job(tmp_path: Path) -> None:
    code = """
import cv2
from refsr import Upscaler
from refsr.evaluate.paper.time import peak_memory, textured
from refsr.resize import imresize

cv2.setNumThreads(2)  # as --threads 2 does
hr = textured(1024, 768)
upscaler = Upscaler.load("ssen", device="cpu", threads=2, max_memory="1.5GB")
upscaler.set_reference(hr)
upscaler.upscale(imresize(hr, scale=0.25))
print(peak_memory())
"""
    assert int(answer_of(code, tmp_path)) < PEAK


def answer_of(code: str, folder: Path) -> str:
    """What a fresh Python prints."""
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ.copy(),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return run.stdout
