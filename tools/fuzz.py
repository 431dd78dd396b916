"""Fuzz test with damaged inputs: refsr accepts each, or refuses it in one plain sentence.

    python tools/fuzz.py                    all of PLAN: 20,000 inputs; an interrupted run continues
    python tools/fuzz.py photo 2000         this many inputs of one kind
    python tools/fuzz.py photo --only 1234  one input again, with its traceback

A worker process tries one input after the other. An input is a finding if it raises anything but a
RefsrError of one sentence, takes more than ten seconds or 500 MB, leaves a partial file, or ends
the process; the worker is then restarted after it. Input N of a kind is the same in every run.
Counts and findings are written to fuzz_out/KIND.json, the output of C libraries to KIND.stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import fuzz_files as files

PLAN = {"photo": 14_000, "pipeline": 1_500, "command": 1_200, "list": 1_200, "config": 600}
PLAN |= {"card": 600, "network": 700, "weights": 200}
PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "data" / "photos"
MAX_SECONDS, TIMEOUT = 10, 60  # CPU seconds per input; seconds until a silent worker is killed
MAX_MEMORY = 500_000_000  # bytes that an input may add to the process
MAX_PIXELS = 4_000_000  # as --max-pixels
SEED = 20200614
SENTENCE = re.compile(r"[^\n]{8,1000}[.?]")
FORBIDDEN = ("Traceback", "Error:", "errno", "object at 0x")

Try = Callable[[np.random.Generator, Path], str]  # makes and tries an input; returns its outcome


class Hang(BaseException):
    """An input took too long."""


class Finding(Exception):
    """The response to an input is a fault."""


def refusal(text: str) -> str:
    """The outcome of a refused input. Raises Finding where ``text`` is no plain sentence."""
    if not SENTENCE.fullmatch(text) or any(word in text for word in FORBIDDEN):
        raise Finding(f"not a plain sentence: {text[:300]!r}")
    return "refused"


# The kinds


def photos() -> Try:
    """Damaged photos, as bytes and as files."""
    from refsr.image.photo import load_photo

    source = files.Photos(PHOTOS if PHOTOS.is_dir() else None)

    def one(rng: np.random.Generator, folder: Path) -> str:
        data: bytes | Path = source.damaged(rng)
        if rng.random() < 0.2:
            (folder / "photo.jpg").write_bytes(data)
            data = folder / "photo.jpg"
        photo = load_photo(data, max_pixels=MAX_PIXELS)
        return "accepted" if photo.pixels.size else "empty"

    return one


def pipeline() -> Try:
    """Damaged photos through the whole pipeline: upscaled, or used as reference, and written."""
    from refsr import Upscaler
    from refsr.image.photo import load_photo

    source = files.Photos(None)
    upscaler = Upscaler.load("detail-transfer", threads=1, max_pixels=40_000)
    reference = np.repeat(np.repeat(files.picture(), 4, axis=0), 4, axis=1)

    def one(rng: np.random.Generator, folder: Path) -> str:
        suffix = (".png", ".jpg", ".webp", ".tif", ".avif")[rng.integers(5)]
        out = folder / f"out{suffix}"
        data, role = source.damaged(rng), rng.integers(3)
        try:
            upscaler.set_reference(None if role == 0 else data if role == 1 else reference)
            result = upscaler.upscale(files.picture() if role == 1 else data)
            result.save(out)
        finally:
            left = [path.name for path in folder.iterdir() if path != out]
            if left:
                raise Finding(f"left behind: {left}")
        width, height = result.report["output_size"]
        again = load_photo(out)
        if (again.width, again.height) != (width, height):
            raise Finding(f"{out.name} has another size than the result")
        return "accepted"

    return one


WORDS = (
    *("photo.jpg", "good.png", "dot.png", "none.png", "folder", "", ".", "/dev/full", "/dev/null"),
    *("-", "--", "-1", "0", "1e9", "nan", "é\udce9", "a\nb.png", "x" * 300, "out.png", "out.jpg"),
    *("folder/out.png", "none/out.png", "out.xyz", "good.png.", "list.csv", "run.toml", "5,5", "8"),
    *("a,b", "-3,4", "99999999999999,1", "ssen", "detail-transfer", "bad.onnx", "2GB", "-2GB"),
    *("set5", "cufed5", "{}", "%s", "$(id)", "~", "../x", "weights.safetensors", "1", "3", "0.5"),
)
FLAGS = (
    *("--ref", "--model", "-o", "--out", "--max-memory", "--max-pixels", "--threads", "--strength"),
    *("--scale", "--report", "--map", "--json", "--quiet", "--device", "--strip-metadata", "--at"),
    *("--root", "--reference", "--limit", "--max-side", "--jpeg", "--heat", "--help", "--nonsense"),
)
OUTPUTS = ("-o", "--out", "--report", "--map", "--heat", "--json")
COMMANDS = ("upscale", "upscale", "upscale", "check", "evaluate", "explain", "data", "info", "bad")


def commands() -> Try:
    """Command lines with damaged photos, invalid names and inapplicable flags."""
    from PIL import Image

    from refsr.cli import main

    source, (network, card) = files.Photos(None), files.model_files()
    text_files = {
        "list.csv": b"input,reference,kind\ngood.png,good.png,near\n",
        "run.toml": files.configuration().encode(),
        "bad.onnx": network[:5000],
        "bad.json": files.with_digest(card, hashlib.sha256(network[:5000]).hexdigest()).encode(),
        "weights.safetensors": b"\xff" * 64,
    }

    def one(rng: np.random.Generator, folder: Path) -> str:
        for name, data in text_files.items():
            (folder / name).write_bytes(data)
        (folder / "photo.jpg").write_bytes(source.damaged(rng))
        Image.fromarray(files.picture()[:24, :32].copy()).save(folder / "good.png")
        Image.new("RGB", (1, 1)).save(folder / "dot.png")
        (folder / "folder").mkdir()
        command = COMMANDS[rng.integers(len(COMMANDS))]
        arguments = [command, "photo.jpg" if rng.random() < 0.5 else "good.png"]
        if command in ("upscale", "explain"):
            arguments += ["-o", "out.png"]
        if command in ("upscale", "check", "explain") and rng.random() < 0.5:
            arguments += ["--ref", "good.png"]
        if command == "upscale" and rng.random() < 0.8:
            arguments += ["--model", "detail-transfer", "--max-pixels", "100000"]
        for _ in range(rng.integers(0, 4)):
            arguments.append(FLAGS[rng.integers(len(FLAGS))])
            if rng.random() < 0.8:
                arguments.append(WORDS[rng.integers(len(WORDS))])
        kept = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        return run_command(main, arguments, folder, kept)

    return one


def run_command(
    main: Callable[[list[str]], int], arguments: list[str], folder: Path, kept: dict[Path, bytes]
) -> str:
    """The outcome of a command line in ``folder``, which must not change the files ``kept``."""
    out, err = io.StringIO(), io.StringIO()
    working_folder = Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(arguments)
    except SystemExit as stopped:
        code = stopped.code
    except Exception as error:
        raise Finding(f"{arguments} raised {error!r}") from error
    finally:
        os.chdir(working_folder)
    outputs = {name for flag, name in pairwise(arguments) if flag in OUTPUTS}
    for path, data in kept.items():
        if path.name not in outputs and path.read_bytes() != data:
            raise Finding(f"{arguments} changed {path.name}")
    if list(folder.rglob("*.tmp")):
        raise Finding(f"{arguments} left a temporary file behind")
    if code == 1:
        sentence = err.getvalue().removeprefix("refsr: ").removesuffix("\n")
        if not err.getvalue().startswith("refsr: ") or out.getvalue():
            if "--json" not in arguments and "data" not in arguments:
                raise Finding(f"{arguments} printed {err.getvalue()[-300:]!r} {out.getvalue()!r}")
            return "refused"
        return refusal(sentence)
    if code not in (0, 2):
        raise Finding(f"{arguments} ended with {code}")
    return "accepted" if code == 0 else "usage"


def lists() -> Try:
    """Damaged lists of pairs."""
    from refsr.data.pairs import load_jobs

    def one(rng: np.random.Generator, folder: Path) -> str:
        for name in ("a.png", "b.png"):
            (folder / name).touch()
        path = folder / "list.csv"
        path.write_bytes(files.damaged_text(files.LIST, files.LIST_WORDS, rng))
        return "accepted" if load_jobs(str(path), folder) else "empty"

    return one


def configurations() -> Try:
    """Damaged TOML files of a training run."""
    from refsr.train.config import load_config

    text = files.configuration()

    def one(rng: np.random.Generator, folder: Path) -> str:
        path = folder / "run.toml"
        path.write_bytes(files.damaged_text(text, files.CONFIG_WORDS, rng))
        load_config(path)
        return "accepted"

    return one


def cards() -> Try:
    """Damaged cards of an intact network."""
    from refsr.weights.models import find_model

    network, card = files.model_files()

    def one(rng: np.random.Generator, folder: Path) -> str:
        (folder / "my.onnx").write_bytes(network)
        (folder / "my.json").write_bytes(files.damaged_text(card, files.CARD_WORDS, rng))
        return "accepted" if find_model(folder / "my.onnx").multiple else "empty"

    return one


def networks() -> Try:
    """Damaged networks whose card has their checksum; those that load are run once."""
    from refsr.inference.network import Network
    from refsr.weights.models import find_model

    network, card = files.model_files()

    def one(rng: np.random.Generator, folder: Path) -> str:
        data = files.damaged_network(network, rng)
        (folder / "my.onnx").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        (folder / "my.json").write_text(files.with_digest(card, digest))
        loaded = Network(find_model(folder / "my.onnx"), threads=1)
        lr, ref = np.zeros((32, 32, 3), np.float32), np.zeros((128, 128, 3), np.float32)
        loaded.run(lr, ref, ref[..., 0])
        return "accepted"

    return one


def weights() -> Try:
    """Damaged training checkpoints."""
    import torch

    from refsr.model.checkpoint import load_weights, save_weights
    from refsr.model.config import SSENConfig
    from refsr.model.ssen import SSEN

    torch.manual_seed(1)
    torch.set_num_threads(1)
    sizes: dict[str, Any] = {"channels": 8, "offset_channels": 8, "reconstruction_blocks": 1}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.safetensors"
        save_weights(SSEN(SSENConfig(**sizes, feature_blocks=1)), path, {"steps": 1})
        data = path.read_bytes()

    def one(rng: np.random.Generator, folder: Path) -> str:
        path = folder / "my.safetensors"
        path.write_bytes(files.damaged_checkpoint(data, rng))
        load_weights(path)
        return "accepted"

    return one


KINDS: dict[str, Callable[[], Try]] = {
    "photo": photos,
    "pipeline": pipeline,
    "command": commands,
    "list": lists,
    "config": configurations,
    "card": cards,
    "network": networks,
    "weights": weights,
}


# The worker


def resident() -> int:
    """Resident bytes of the process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak() -> int:
    """Peak resident bytes of the process since the last ``reset_peak``."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+)", status)[1]) * 1024  # type: ignore[index]


def reset_peak() -> None:
    """Reset the peak."""
    Path("/proc/self/clear_refs").write_text("5")


def out_of_time(number: int, frame: FrameType | None) -> None:
    """Signal handler of an input's time limit."""
    raise Hang


def generator(kind: str, number: int) -> np.random.Generator:
    """The random generator of input ``number`` of a kind."""
    return np.random.default_rng([SEED, list(KINDS).index(kind), number])


def try_one(kind: str, number: int, attempt: Try, folder: Path) -> tuple[str, str]:
    """The outcome of an input, with details if it is a finding."""
    from refsr import RefsrError

    reset_peak()
    before = resident()
    signal.signal(signal.SIGVTALRM, out_of_time)
    signal.setitimer(signal.ITIMER_VIRTUAL, MAX_SECONDS)
    try:
        outcome, why = attempt(generator(kind, number), folder), ""
    except RefsrError as error:
        try:
            outcome, why = refusal(str(error)), ""
        except Finding as problem:
            outcome, why = "finding", str(problem)
    except Finding as problem:
        outcome, why = "finding", f"{problem}\n{traceback.format_exc()}"
    except Hang:
        outcome, why = "finding", f"more than {MAX_SECONDS} s\n{traceback.format_exc()}"
    except Exception:
        outcome, why = "finding", traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    if peak() - before > MAX_MEMORY:
        outcome, why = "finding", f"{(peak() - before) >> 20} MB of memory, then: {outcome} {why}"
    return outcome, why


def work(kind: str, first: int, stop: int) -> None:
    """Try inputs and report the start and outcome of each to the driver."""
    warnings.simplefilter("ignore")
    attempt = KINDS[kind]()
    driver = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the output of C libraries must not reach the driver
    with tempfile.TemporaryDirectory(prefix="refsr-fuzz-") as root:
        for number in range(first, stop):
            folder = Path(root) / "input"
            folder.mkdir()
            print(json.dumps({"started": number}), file=driver, flush=True)
            outcome, why = try_one(kind, number, attempt, folder)
            report = {"done": number, "outcome": outcome, "why": why}
            print(json.dumps(report), file=driver, flush=True)
            shutil.rmtree(folder)


# The driver


def follow(worker: subprocess.Popen[str], record: dict[str, Any], save: Callable[[], None]) -> bool:
    """Read a worker's reports until it ends; False if it died or timed out."""
    assert worker.stdout is not None
    while True:
        if not select.select([worker.stdout], [], [], TIMEOUT)[0]:
            worker.kill()
            return False
        line = worker.stdout.readline()
        if not line:
            return worker.wait() == 0
        message = json.loads(line)
        if "started" in message:
            record["next"], record["trying"] = message["started"], True
            continue
        record["next"], record["trying"] = message["done"] + 1, False
        record["counts"][message["outcome"]] = record["counts"].get(message["outcome"], 0) + 1
        if message["outcome"] == "finding":
            record["findings"].append({"input": message["done"], "why": message["why"]})
        if message["outcome"] == "finding" or message["done"] % 100 == 99:
            save()


def drive(kind: str, count: int, out: Path) -> dict[str, Any]:
    """Try the inputs of a kind up to ``count``, continuing an earlier run."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{kind}.json"
    record: dict[str, Any] = {"next": 0, "counts": {}, "findings": []}
    if path.is_file():
        record = json.loads(path.read_text())

    def save() -> None:
        path.with_suffix(".partial").write_text(json.dumps(record, indent=1))
        path.with_suffix(".partial").replace(path)

    while record["next"] < count:
        command = [sys.executable, __file__, kind, str(count), "--from", str(record["next"])]
        with (out / f"{kind}.stderr").open("ab") as stderr:
            worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
            finished = follow(worker, record, save)
        if not finished:
            code = worker.wait()
            if not record.pop("trying", False):
                raise SystemExit(f"The worker does not start; see {out / kind}.stderr.")
            record["counts"]["finding"] = record["counts"].get("finding", 0) + 1
            record["findings"].append({"input": record["next"], "why": f"worker ended: {code}"})
            record["next"] += 1
        save()
    return record


def main() -> None:
    """Parse the command line and run the inputs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("kind", choices=[*KINDS, "plan"], nargs="?", default="plan")
    parser.add_argument("inputs", type=int, nargs="?", default=0)
    parser.add_argument("--only", type=int, help="try one input and show its traceback")
    parser.add_argument("--from", type=int, dest="first", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("fuzz_out"))
    flags = parser.parse_args()
    if flags.first is not None:
        work(flags.kind, flags.first, flags.inputs)
        return
    if flags.only is not None:
        with tempfile.TemporaryDirectory() as folder:
            attempt = KINDS[flags.kind]()
            print(*try_one(flags.kind, flags.only, attempt, Path(folder)), sep="\n")
        return
    plan = PLAN if flags.kind == "plan" else {flags.kind: flags.inputs}
    total = Counter[str]()
    for kind, inputs in plan.items():
        start = time.monotonic()
        record = drive(kind, inputs, flags.out)
        counts = record["counts"]
        total.update(counts)
        shown = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        print(f"{kind:8} {sum(counts.values()):6}: {shown} ({time.monotonic() - start:.0f} s)")
    print(f"all      {sum(total.values()):6}: {total['finding']} findings")
    sys.exit(total["finding"] > 0)


if __name__ == "__main__":
    main()
