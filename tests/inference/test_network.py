"""Every runtime gives the same picture, and what cannot run is said in one sentence."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refsr import RefsrError, Upscaler
from refsr.errors import ModelError
from refsr.inference import network as runtimes
from refsr.inference.network import Network, Runtime
from refsr.weights.models import Model, find_model
from scenes import facade

TILE = 72, 60  # LR pixels; no multiples of the network's grid


def tile() -> tuple[Any, Any, Any]:
    """A rendered LR photo, its own truth as reference, and validity with an edge in it."""
    from refsr.resize import imresize

    hr = facade(3)[: 4 * TILE[0], : 4 * TILE[1]].astype(np.float32) / np.float32(255)
    validity = np.ones(hr.shape[:2], np.float32)
    validity[:, : hr.shape[1] // 3] = 0
    return imresize(hr, scale=0.25), hr, validity


def apart(first: Any, second: Any) -> float:
    """The largest difference in gray levels of 8 bits."""
    return 255 * float(np.abs(first - second).max())


def agree_in_bfloat16(first: Any, second: Any) -> bool:
    """Whether 99.9 % of the values are within one gray level, and all within two."""
    levels = 255 * np.abs(first - second)
    return bool(np.quantile(levels, 0.999) < 1 and levels.max() < 2)


@pytest.fixture(scope="module")
def expected() -> tuple[Any, Any]:
    return Network(find_model("ssen"), "cpu", 1, "onnx").run(*tile())


@pytest.mark.parametrize("name", ["openvino", "torch"])
def test_runtimes_agree(name: Runtime, expected: tuple[Any, Any]) -> None:
    pytest.importorskip(name)
    network = Network(find_model("ssen"), "cpu", 1, name)
    assert network.provider.startswith(name)
    sr, gate = network.run(*tile(), release=True)
    assert sr.shape == expected[0].shape
    assert gate.shape == expected[1].shape
    if network.provider.endswith("bf16"):
        assert agree_in_bfloat16(sr, expected[0])
        assert float(np.abs(gate - expected[1]).max()) < 0.05
    else:
        assert apart(sr, expected[0]) < 0.1
        assert apart(gate, expected[1]) < 0.1


@pytest.fixture(scope="module")
def without_self_reference(tmp_path_factory: pytest.TempPathFactory) -> Model:
    import torch

    from networks import THREE_LAYERS, network
    from refsr.model.export import export

    path = tmp_path_factory.mktemp("model") / "small.onnx"
    model = network(replace(THREE_LAYERS, self_reference=False))
    for parameter in model.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)  # as after training: no two alike
    export(model, path, {"training": {"model": asdict(model.config)}})
    return find_model(path)


@pytest.mark.parametrize("name", ["onnx", "openvino", "torch"])
def test_a_network_without_self_reference_skips_its_path(
    name: Runtime, without_self_reference: Model
) -> None:
    import torch

    from refsr.model.checkpoint import load_weights

    pytest.importorskip(name)
    runner = Network(without_self_reference, "cpu", 1, name)
    model = load_weights(without_self_reference.path)[0]
    lr, ref, validity = tile()
    sr, gate = runner.run(lr, ref, 0 * validity)
    padded = np.pad(lr, ((0, 0), (0, 4), (0, 0)), "edge")  # to the grid of 8
    inputs = torch.from_numpy(np.ascontiguousarray(padded.transpose(2, 0, 1)))[None]
    with torch.no_grad():
        alone = model.without_reference(inputs)[0][0, :, :, : sr.shape[1]].numpy()
        padded = np.pad(ref, ((0, 0), (0, 16), (0, 0)), "edge")
        other = torch.from_numpy(np.ascontiguousarray(padded.transpose(2, 0, 1)))[None]
        on_path = model.explain(inputs, other, torch.zeros_like(other[:, :1]))[0]
    agree = agree_in_bfloat16 if runner.provider.endswith("bf16") else almost_equal
    assert agree(sr, alone.transpose(1, 2, 0))
    assert apart(alone, on_path[0, :, :, : sr.shape[1]].numpy()) > 1
    assert not gate.any()
    with_reference, gate = runner.run(lr, ref, validity)
    assert gate.any()
    assert apart(with_reference, sr) > 1


def almost_equal(first: Any, second: Any) -> bool:
    """Whether no value differs by a twentieth of a gray level."""
    return apart(first, second) < 0.05


@pytest.mark.parametrize("name", ["onnx", "openvino", "torch"])
def test_threads_give_memory_back_while_others_compute(name: Runtime) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(name, name))
    network = Network(find_model("ssen"), "cpu", 1, name)
    parts = [part[:64, :64] if i else part[:16, :16] for i, part in enumerate(tile())]
    alone = network.run(*parts)[0]
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(network.run, *parts, release=True) for _ in range(40)]
        assert all(apart(run.result()[0], alone) < 0.1 for run in runs)


@pytest.mark.parametrize("concurrency", [1, 2])
def test_openvinos_callers_do_not_wait_in_line(concurrency: int) -> None:
    """Each has a stream of its own, and none is tied to a core that another program has, too."""
    pytest.importorskip("openvino")
    upscaler = Upscaler.load("ssen-tiny", runtime="openvino", threads=1, concurrency=concurrency)
    assert isinstance(upscaler.networks.clean, Network)
    session: Any = upscaler.networks.clean.session
    assert session.compiled.get_property("NUM_STREAMS") == concurrency
    assert not session.compiled.get_property("ENABLE_CPU_PINNING")


QUIET = """
import os
import sys
import numpy as np
from refsr import Upscaler

Upscaler.load("ssen", runtime=sys.argv[1]).upscale(np.zeros((12, 10, 3), np.uint8))
open_ones = [one for one in os.listdir("/proc/self/fd") if int(one) > 2]
files = [os.path.realpath(f"/proc/self/fd/{one}") for one in open_ones]
print([file for file in files if "socket:" in file or "cache" in file.lower()])
"""


@pytest.mark.linux
@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_a_runtime_leaves_nothing_and_calls_nobody(name: Runtime, tmp_path: Path) -> None:
    """ONNX Runtime 1.32 and OpenVINO report their use to their makers, unless they are kept off."""
    pytest.importorskip({"onnx": "onnxruntime"}.get(name, name))
    places = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(tmp_path))
    places = {**{key: os.environ[key] for key in os.environ if key[:4] != "ORT_"}, **places}
    command = [sys.executable, "-c", QUIET, name]
    done = subprocess.run(command, capture_output=True, text=True, env=places, check=True)
    assert done.stdout == "[]\n"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_openvino_adds_up_outside_of_its_graph(expected: tuple[Any, Any]) -> None:
    """Where the processor has no bfloat16, OpenVINO computes in float32: the same picture."""
    pytest.importorskip("openvino")
    from refsr.inference.openvino import OpenVinoSession

    network = Network(find_model("ssen"), "cpu", 1, "onnx")
    network.session = OpenVinoSession(network.model, "cpu", 1, precision="bf16")
    assert network.session.split
    sr, gate = network.run(*tile())
    if runtimes.has_bf16():
        assert agree_in_bfloat16(sr, expected[0])
    else:
        assert apart(sr, expected[0]) < 0.1
    assert float(np.abs(gate - expected[1]).max()) < 0.05


def test_torch_computes_again_what_is_not_finite(expected: tuple[Any, Any]) -> None:
    torch = pytest.importorskip("torch")
    from refsr.inference.torch import TorchSession

    network = Network(find_model("ssen"), "cpu", 1, "onnx")
    network.session = session = TorchSession(network.model, "cpu", 1)
    session.type = torch.float16  # as on a card
    forward, types = session.forward, list[Any]()

    def overflowing(parts: list[Any], type: Any) -> Any:
        types.append(type)
        sr, gate = forward(parts, None)
        if type is not None:
            sr[0, 0, 0, 0] = float("nan")
        return sr, gate

    session.forward = overflowing
    sr, _ = network.run(*tile())
    assert types == [torch.float16, None]
    assert apart(sr, expected[0]) < 0.1


def test_a_runtime_that_is_not_installed_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name, extra in (("openvino", "refsr[openvino]"), ("torch", "refsr[train]")):
        with pytest.raises(RefsrError, match="pip install") as caught:
            Network(find_model("ssen"), "cpu", 1, name)
        assert extra in str(caught.value)


def test_auto_falls_back_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = runtimes.open_session

    def broken(name: Runtime, model: Model, device: Any, *sizes: int) -> Any:
        if name == "openvino":
            raise ModelError("OpenVINO is broken here.")
        return opened(name, model, device, *sizes)

    monkeypatch.setattr(runtimes, "pick_runtime", lambda _: "openvino")
    monkeypatch.setattr(runtimes, "open_session", broken)
    network = Network(find_model("ssen"))
    assert network.provider == "onnx, CPUExecutionProvider"
    assert network.notes == ["run by ONNX Runtime on the processor: OpenVINO is broken here."]
    with pytest.raises(RefsrError, match="OpenVINO is broken here"):
        Network(find_model("ssen"), runtime="openvino")


def test_a_provider_that_does_not_start_is_no_silent_fallback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ONNX Runtime itself goes on on the processor when its card does not start."""
    import onnxruntime

    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    session = onnxruntime.InferenceSession

    def without_card(path: str, options: Any, providers: list[str], **others: Any) -> Any:
        return session(path, options, providers=providers[1:] or providers, **others)

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(onnxruntime, "InferenceSession", without_card)
    with pytest.raises(RefsrError, match="could not start its CUDAExecutionProvider"):
        Network(find_model("ssen"), "cuda", runtime="onnx")
    network = Network(find_model("ssen"))
    assert network.provider == "onnx, CPUExecutionProvider"
    assert "could not start its CUDAExecutionProvider" in network.notes[0]


@pytest.mark.parametrize(
    ("device", "cards", "bf16", "picked"),
    [
        ("auto", [], False, "onnx"),
        ("auto", [], True, "openvino"),
        ("cpu", ["CUDAExecutionProvider"], True, "openvino"),
        ("auto", ["CUDAExecutionProvider"], True, "onnx"),
        ("cuda", [], True, "onnx"),  # which says what to install
        ("mps", [], False, "torch"),
    ],
)
def test_what_auto_picks(
    device: Any, cards: list[str], bf16: bool, picked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    providers = [*cards, "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(runtimes, "has_bf16", lambda: bf16)
    monkeypatch.setattr(runtimes, "installed", lambda name: True)
    monkeypatch.setattr(runtimes, "torch_has_cuda", lambda: False)
    assert runtimes.pick_runtime(device) == picked


def test_what_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(RefsrError, match="There is no runtime 'onyx'"):
        Network(find_model("ssen"), runtime="onyx")  # type: ignore[arg-type]
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    model = Model("broken", broken, 32, {})
    for name in ("onnx", "openvino", "torch"):
        if runtimes.installed(name):
            with pytest.raises(RefsrError, match=r"broken\.(onnx|json) is "):
                Network(model, "cpu", 1, name)  # type: ignore[arg-type]
