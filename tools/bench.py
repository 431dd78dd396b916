"""Benchmarks time and memory by size and runtime, relative to a compute floor.

    python tools/bench.py [--sizes 125x80 512x384] [--runtimes onnx openvino openvino-f32 torch]

Each job runs in a fresh process: load, features of one reference of the result's size,
registration, network, and the rest. Times are CPU seconds, which other work on the machine disturbs
less than wall-clock time. The floor is the network's counted multiplications at the rate of one
large 3x3 convolution in ONNX Runtime, measured before and after the job. Jobs use one thread, since
waiting threads spin and so add CPU time on a busy machine. Results are stored job by job in
benchmarks/bench.json, so a long list can be run in parts; docs/BENCHMARKS.md is written from all of
them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partialmethod
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from refsr.evaluate.paper.sections import wrap_text

ROOT = Path(__file__).resolve().parents[1]
RECORD, PAGE = ROOT / "benchmarks" / "bench.json", ROOT / "docs" / "BENCHMARKS.md"
SIZES = ("125x80", "256x192", "512x384", "1000x750", "1024x768", "2048x1536")
FLOAT32 = "openvino-f32"  # on machines where OpenVINO computes in bfloat16 by default
RUNTIMES = ("onnx", "openvino", FLOAT32, "torch")
STAGES = ("load", "reference", "registration", "network", "rest")
MODEL = "ssen"
ALBUM = 4  # photos upscaled with the same reference


def conv_rate() -> float:
    """GFLOP per CPU second of a 3x3 convolution of 64 to 64 channels over 192 x 192 pixels."""
    import onnx
    import onnxruntime

    shape = (1, 64, 192, 192)
    weight = onnx.numpy_helper.from_array(np.ones((64, 64, 3, 3), np.float32), "w")
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    x, y = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in "xy"
    )
    graph = onnx.helper.make_graph([node], "rate", [x], [y], [weight])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])
    model.ir_version = 10
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session: Any = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    image = np.ones(shape, np.float32)
    seconds = min(cpu(lambda: session.run(None, {"x": image})) for _ in range(6))
    return 2 * 64 * 64 * 9 * 192 * 192 / seconds / 1e9


def gemm_rate() -> float:
    """GFLOP per CPU second of a matrix product of 1024 x 1024."""
    side = 1024
    matrix = np.ones((side, side), np.float32)
    return 2 * side**3 / min(cpu(lambda: matrix @ matrix) for _ in range(6)) / 1e9


def cpu(job: Callable[[], Any]) -> float:
    """CPU seconds of a job."""
    start = time.process_time()
    job()
    return time.process_time() - start


def draw_texture(width: int, height: int) -> Any:
    """``textured``, drawn in another process, since it takes more memory than the network."""
    code = (
        "import sys, numpy; from refsr.evaluate.paper.time import textured; "
        "numpy.save(sys.argv[1], textured(int(sys.argv[2]), int(sys.argv[3])))"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/hr.npy"
        subprocess.run([sys.executable, "-c", code, path, str(width), str(height)], check=True)
        return np.load(path)


def resolve_runtime(name: str) -> Any:
    """The runtime of a row; FLOAT32 sets OpenVINO's precision in this process."""
    if name != FLOAT32:
        return name
    from refsr.inference.openvino import OpenVinoSession

    OpenVinoSession.__init__ = partialmethod(OpenVinoSession.__init__, precision="f32")  # type: ignore[method-assign]
    return "openvino"


def measure(size: str, runtime: Any) -> dict[str, Any]:
    """One job in this process: CPU seconds by stage, peak bytes, and the floor."""
    import refsr.upscaler as pipeline
    from refsr.evaluate.paper.time import peak_memory
    from refsr.inference.network import Network
    from refsr.model.count import multiplications
    from refsr.resize import imresize
    from refsr.weights.models import find_model

    cv2.setNumThreads(1)
    width, height = map(int, size.split("x"))
    hr = draw_texture(4 * width, 4 * height)
    lr = imresize(hr, scale=0.25)
    rates = [conv_rate()]
    spent = dict.fromkeys(STAGES, 0.0)
    computed = [0]

    def timed(stage: str, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent[stage] += time.process_time() - start
                if stage == "network":
                    computed[0] += args[1].shape[0] * args[1].shape[1]

        return call

    Network.run = timed("network", Network.run)  # type: ignore[method-assign]
    pipeline.register_coarse = timed("registration", pipeline.register_coarse)
    wall = time.perf_counter()
    start = time.process_time()
    upscaler = pipeline.Upscaler.load(MODEL, runtime=runtime, device="cpu", threads=1)
    spent["load"] = time.process_time() - start
    spent["reference"] = cpu(lambda: upscaler.set_reference(hr))
    result = upscaler.upscale(lr)
    total = time.process_time() - start
    wall = time.perf_counter() - wall
    spent["rest"] = total - sum(spent.values())
    rates.append(conv_rate())
    work = 2 * multiplications(find_model(MODEL).path) * width * height
    return {
        "pixels": width * height,
        "cpu": {**spent, "total": total},
        "wall": wall,
        "peak": peak_memory(),
        "computed": computed[0] / (width * height),
        "conv_rate": max(rates),
        "floor": work / max(rates) / 1e9,
        "runtime": result.report["runtime"],
    }


def measure_album(runtime: Any) -> dict[str, float]:
    """CPU seconds per photo of 125 x 80, for ``ALBUM`` photos with one reference."""
    from refsr import Upscaler
    from refsr.evaluate.paper.time import textured
    from refsr.resize import imresize

    hr = textured(500, 320)
    lr = imresize(hr, scale=0.25)
    upscaler = Upscaler.load(MODEL, runtime=runtime, device="cpu", threads=1)
    upscaler.set_reference(hr)
    upscaler.upscale(lr)
    each = cpu(lambda: [upscaler.upscale(lr) for _ in range(ALBUM)]) / ALBUM
    return {"cpu": each, "per_minute": 60 / each}


def run_job(*arguments: str) -> Any:
    """Run this script in a fresh process and return its JSON output."""
    run = subprocess.run(
        [sys.executable, __file__, *arguments],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(run.stdout.splitlines()[-1])


def cold_start() -> dict[str, float]:
    """CPU seconds of a fresh process that only imports or loads; the fastest of three."""
    seconds: dict[str, float] = {}
    for name, code in (
        ("python", "pass"),
        ("import refsr", "import refsr"),
        ("from refsr import Upscaler", "from refsr import Upscaler"),
        ("load, onnx", "from refsr import Upscaler; Upscaler.load('ssen', runtime='onnx')"),
        ("load, openvino", "from refsr import Upscaler; Upscaler.load('ssen', runtime='openvino')"),
    ):
        script = f"{code}\nimport time; print(time.process_time())"
        runs = [
            subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
            for _ in range(3)
        ]
        if not any(run.returncode for run in runs):
            seconds[name] = min(float(run.stdout) for run in runs)
    return seconds


def core_bytes() -> int:
    """Bytes on disk of the package and its dependencies without extras."""
    seen: set[str] = set()
    todo, total = ["refsr"], 0
    while todo:
        name = re.split(r"[^\w.-]", todo.pop())[0].lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # not needed on this platform
            continue
        todo += [line for line in package.requires or [] if "extra ==" not in line]
        files = [Path(str(package.locate_file(file))) for file in package.files or []]
        total += sum(file.stat().st_size for file in files if file.is_file())
    package = ROOT / "src" / "refsr"  # an editable installation does not list its files
    return total + sum(file.stat().st_size for file in package.rglob("*") if file.is_file())


def exponent(jobs: list[dict[str, Any]], value: Callable[[dict[str, Any]], float]) -> float:
    """The growth exponent in pixels: slope of log value over log pixels from 256 x 192 on."""
    large = [job for job in jobs if job["pixels"] >= 256 * 192]
    if len(large) < 2:
        return float("nan")
    x = np.log([job["pixels"] for job in large])
    return float(np.polyfit(x, np.log([value(job) for job in large]), 1)[0])


def page(record: dict[str, Any]) -> str:
    """docs/BENCHMARKS.md."""
    lines = ["# Benchmarks", "", "Written by `make bench` (`tools/bench.py`). " + NOTES, ""]
    for runtime in RUNTIMES:
        jobs = [
            (size, record["jobs"][f"{size} {runtime}"])
            for size in SIZES
            if f"{size} {runtime}" in record["jobs"]
        ]
        if not jobs:
            continue
        lines += [f"## {jobs[0][1]['runtime']}", ""]
        lines += [
            "| LR photo | load | reference | registration | network | rest | total | floor "
            "| network / floor | total / floor | registration | computed | peak |",
            "|" + "---|" * 13,
        ]
        for size, job in jobs:
            spent, floor = job["cpu"], job["floor"]
            matching = spent["reference"] + spent["registration"]
            cells = [f"{spent[stage]:.2f}" for stage in (*STAGES, "total")]
            cells += [f"{floor:.2f}", f"{spent['network'] / floor:.2f}"]
            cells += [f"**{spent['total'] / floor:.2f}**", f"{matching / spent['total']:.0%}"]
            cells += [f"{job['computed']:.2f}", f"{job['peak'] / 1e6:.0f} MB"]
            lines.append(f"| {size} | " + " | ".join(cells) + " |")
        measured = [job for _, job in jobs]
        total = exponent(measured, lambda job: job["cpu"]["total"])
        network = exponent(measured, lambda job: job["cpu"]["network"])
        lines += ["", f"Growth exponent in pixels from 256x192 on: total {total:.2f}, "]
        lines[-1] += f"network {network:.2f}."
        if runtime in record["album"]:
            album = record["album"][runtime]
            lines[-1] += (
                f" Each further photo of 125x80 with the same reference: {album['cpu']:.2f} CPU s."
            )
        lines.append("")
    lines += ["## Cold start", "", "| | CPU s |", "|---|---|"]
    lines += [f"| {name} | {seconds:.2f} |" for name, seconds in record["cold"].items()]
    lines += ["", f"Installed core: {record['core_bytes'] / 1e6:.0f} MB."]
    machine = record["machine"]
    lines += [
        "",
        f"{machine['processor']}, {machine['cores']} cores; one core: matrix products "
        f"{machine['gemm']:.0f} GFLOP/s. {machine['network'] / 1e6:.2f} M multiply-adds a LR pixel "
        "in the network.",
    ]
    return "\n".join(line if line.startswith("|") else wrap_text(line) for line in lines) + "\n"


NOTES = (
    "CPU seconds of a fresh process of one thread, with one reference of the result's "
    "size, all of whose parts match. *Floor*: the network's multiplications at the rate of one 3x3 "
    "convolution, measured in the same process. *Registration* in per cent: the share of "
    "reference and registration in the total. *Computed*: LR pixels that the network computed, "
    "relative to the photo's: halos, and two small tiles that measure memory and speed."
)


def processor() -> str:
    """The processor's name, if the system provides it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> None:
    """Run the jobs one after the other; write the record and the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    parser.add_argument("--runtimes", nargs="+", default=RUNTIMES)
    parser.add_argument("--job", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        what, runtime = options.job[0], resolve_runtime(options.job[1])
        print(json.dumps(measure_album(runtime) if what == "album" else measure(what, runtime)))
        return
    from refsr.inference.network import has_bf16, installed
    from refsr.model.count import multiplications
    from refsr.weights.models import find_model

    runtimes = [name for name in options.runtimes if installed(name.removesuffix("-f32"))]
    if not has_bf16() and FLOAT32 in runtimes:
        runtimes.remove(FLOAT32)  # the same as openvino
    record: dict[str, Any] = {"jobs": {}, "album": {}}
    if RECORD.exists():
        record = json.loads(RECORD.read_text())
    record["machine"] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "gemm": gemm_rate(),
        "network": multiplications(find_model(MODEL).path),
    }
    record["cold"], record["core_bytes"] = cold_start(), core_bytes()
    for runtime in runtimes:
        for size in options.sizes:
            print(f"{runtime}, {size}", file=sys.stderr, flush=True)
            record["jobs"][f"{size} {runtime}"] = run_job("--job", size, runtime)
            RECORD.write_text(json.dumps(record, indent=1) + "\n")
        record["album"][runtime] = run_job("--job", "album", runtime)
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
    PAGE.write_text(page(record))


if __name__ == "__main__":
    main()
