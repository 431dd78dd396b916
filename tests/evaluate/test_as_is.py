"""The network alone: the reference as it lies, and nothing else of the pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from refsr.arrays import Pixels
from refsr.cli import main
from refsr.data.pairs import load_jobs
from refsr.errors import DataError
from refsr.evaluate import run
from refsr.evaluate.as_is import fit_reference, run_as_is
from refsr.evaluate.compare import AS_IS_MODES, compare_references
from refsr.evaluate.metrics import psnr
from refsr.evaluate.run import Machine, evaluate
from refsr.inference.network import Network
from refsr.resize import imresize
from refsr.weights.models import find_model

ONNX = Machine("cpu", "onnx", "1GB")


@pytest.fixture
def listed(tmp_path: Path, natural: Pixels) -> Path:
    """Two photos, each with a reference that lies 3 and 5 px beside it and is bluer."""
    for index, (y, x) in enumerate(((0, 0), (100, 120))):
        for name, off in (("a", 0), ("b", 3 + 2 * index)):
            (tmp_path / f"{index}").mkdir(exist_ok=True)
            photo = natural[y + off : y + off + 96, x + off : x + off + 128].copy()
            photo[..., 2] //= 1 + (name == "b")
            Image.fromarray(photo).save(tmp_path / f"{index}" / f"{name}.png")
    (tmp_path / "list.csv").write_text(
        "input,reference,kind\n0/a.png,0/b.png,near\n1/a.png,1/b.png,near\n"
    )
    return tmp_path


def pixels(path: Path) -> Pixels:
    return np.asarray(Image.open(path).convert("RGB"))


def test_the_reference_reaches_the_network_as_it_lies(listed: Path) -> None:
    """PSNR of the network on the two files, with nothing between them and it."""
    jobs = load_jobs(str(listed / "list.csv"), listed)
    result = evaluate(jobs, model="ssen-tiny", reference="as-is", machine=ONNX)
    network = Network(find_model("ssen-tiny"), "cpu", 0, "onnx")
    for row, job in zip(result["rows"], jobs, strict=True):
        hr, ref = pixels(job.input), pixels(job.references[0])
        lr = imresize(hr, scale=0.25)
        valid = np.ones(hr.shape[:2], np.float32)
        inputs = (image.astype(np.float32) / np.float32(255) for image in (lr, ref))
        sr = np.clip(np.rint(network.run(*inputs, valid)[0] * 255), 0, 255).astype(np.uint8)
        assert row["psnr"] == pytest.approx(psnr(sr, hr, 4), rel=1e-12)
        assert row["reference"] == job.relative(job.references[0])
    registered = evaluate(jobs, model="ssen-tiny", machine=ONNX)
    assert registered["mean"]["all"]["psnr"] != result["mean"]["all"]["psnr"]
    assert "no registration" in result["protocol"]["references"]


def test_all_three_as_is_modes_are_compared(listed: Path) -> None:
    jobs = load_jobs(str(listed / "list.csv"), listed)
    compared = compare_references(jobs, model="ssen-tiny", modes=AS_IS_MODES, machine=ONNX)
    values = {mode: r["mean"]["all"]["psnr"] for mode, r in compared["results"].items()}
    assert len(set(values.values())) == 3
    shuffled = compared["results"]["as-is-shuffled"]["rows"][0]["reference"]
    assert shuffled == "1/b.png"
    assert compared["results"]["as-is-none"]["rows"][0]["reference"] == ""


def test_what_ran_it_is_recorded(listed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = ["evaluate", str(listed / "list.csv"), "--root", str(listed), "--model", "ssen-tiny"]
    job += ["--limit", "1", "--reference", "as-is", "--json", str(listed / "out.json")]
    assert main([*job, "--device", "cpu", "--runtime", "onnx", "--max-memory", "900MB"]) == 0
    record = json.loads((listed / "out.json").read_text())
    assert record["run_by"].pop("threads") >= 1
    assert record["run_by"] == {
        "runtime": "onnx",
        "provider": "CPUExecutionProvider",
        "precision": "float32",
        "max_memory": 900_000_000,
    }
    assert record["data"].endswith("list.csv: 2 rows of 2 photos.")
    assert main([*job, "--runtime", "onnx", "--device", "mps"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("refsr: ")
    bicubic = evaluate(load_jobs(str(listed / "list.csv"), listed), model="bicubic")
    assert bicubic["run_by"] == {}


def test_a_reference_of_another_size_is_shrunk_and_padded() -> None:
    same = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    assert np.array_equal(fit_reference(same, 40, 60), same)
    small = fit_reference(same, 48, 64)
    assert np.array_equal(small[:40, :60], same)  # not enlarged
    assert np.array_equal(small[40:, :60], np.repeat(same[39:], 8, 0))
    large = fit_reference(same, 40, 30)
    assert np.array_equal(large[:20], imresize(same, scale=0.5))  # its aspect is kept
    assert large.shape == (40, 30, 3)


class Enlarger:
    """A network that enlarges its photo and adds the reference, whatever lies around them."""

    passes, notes = 1, ()

    def __init__(self) -> None:
        self.model, self.tiles = find_model("ssen-tiny"), list[tuple[int, ...]]()

    def run(self, lr: Any, ref: Any, validity: Any) -> tuple[Any, Any]:
        self.tiles.append(lr.shape[:2])
        large = np.repeat(np.repeat(lr, 4, 0), 4, 1)
        return (large + ref * validity[..., None]) / 2, validity


def test_a_photo_that_memory_does_not_hold_is_cut_into_tiles(rng: np.random.Generator) -> None:
    lr = rng.integers(0, 256, (200, 250, 3), np.uint8)
    ref = rng.integers(0, 256, (800, 1000, 3), np.uint8)
    one, many = Enlarger(), Enlarger()
    whole = run_as_is(one, lr, [ref], 2_000_000_000)  # type: ignore[arg-type]
    tiled = run_as_is(many, lr, [ref], 300_000_000)  # type: ignore[arg-type]
    assert one.tiles == [(200, 250)]
    assert len(many.tiles) > 3
    assert np.array_equal(whole, tiled)
    alone = run_as_is(one, lr, [], 2_000_000_000)  # type: ignore[arg-type]
    assert np.abs(alone[::4, ::4].astype(float) - lr / 2).max() <= 0.5


def test_what_cannot_be_run_alone_is_said() -> None:
    with pytest.raises(DataError, match="detail-transfer is no network"):
        run.load_method("detail-transfer", as_is=True)
    lr = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(DataError, match="one alone"):
        run_as_is(Enlarger(), lr, [lr, lr], 1_000_000_000)  # type: ignore[arg-type]
