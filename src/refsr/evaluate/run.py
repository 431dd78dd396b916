"""The evaluation: shrink the ground truth, upscale it, and measure the result against it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from PIL import Image

from refsr.arrays import Pixels
from refsr.data.pairs import MIN_SIDE, EvaluationJob
from refsr.degradation.simulate import LowRes, PhotoKind, parse_kind, simulate
from refsr.errors import DataError
from refsr.evaluate import lpips as lpips_metric
from refsr.evaluate import perceptual
from refsr.evaluate.as_is import run_as_is
from refsr.evaluate.lpips import Distance
from refsr.evaluate.metrics import psnr, ssim
from refsr.evaluate.protocol import (
    BORDER,
    MATLAB,
    MAX_PSNR,
    ReferenceMode,
    decode_lr,
    describe_protocol,
    load_truth,
    reference_pixels,
    shuffled_references,
)
from refsr.evaluate.sheets import draw_sheet, write_sheet
from refsr.image.atomic import make_folder
from refsr.inference.cores import usable_cores
from refsr.inference.ensemble import Mode, TileNetwork
from refsr.inference.network import Device, Runtime
from refsr.resize import SCALE, imresize

METRICS = (
    *("psnr", "ssim", "haarpsi", "detail"),
    *("bicubic_psnr", "bicubic_ssim", "bicubic_haarpsi", "bicubic_detail", "seconds"),
)
OPTIONAL_METRICS = ("lpips", "bicubic_lpips")  # measured on request
WITH_PATHS = ("given", "shuffled", "as-is", "as-is-shuffled")  # modes that use the rows' files
IRRELEVANT = "irrelevant"  # the kind of a pair that shows two different things

Method = Callable[[LowRes, list[Pixels]], Pixels]


@dataclass(frozen=True)
class Machine:
    """What runs the model: as for ``Upscaler.load``."""

    device: Device = "auto"
    runtime: Runtime = "auto"
    max_memory: int | str = "auto"


@dataclass(frozen=True)
class Runner:
    """A method of upscaling, and what runs it, for the record."""

    method: Method
    run_by: dict[str, Any] = field(default_factory=dict)


AUTO_MACHINE = Machine()


def evaluate(
    jobs: Sequence[EvaluationJob],
    *,
    model: str = "auto",
    reference: ReferenceMode = "given",
    max_side: int | None = None,
    photo: str | None = None,
    jpeg: int | None = None,
    look: Mode = "true",
    ensemble: bool = False,
    lpips: bool = False,
    sheets: Path | None = None,
    machine: Machine = AUTO_MACHINE,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Upscale every job's shrunk photo and measure the result against the photo.

    ``model``: bicubic, lanczos, or what ``Upscaler.load`` takes. ``reference``: where the model's
    references come from. ``max_side``: photos and references are first shrunk to this long side
    (px). ``photo``: how a photo is shrunk, as ``refsr.degradation.simulate.parse_kind`` reads it;
    "matlab" unless given. ``jpeg``: the same as "jpeg:QUALITY".
    ``look``, ``ensemble``: as for ``Upscaler.load``. ``lpips``: measure LPIPS, too, which needs the
    extra `lpips`. ``sheets``: a folder, made if missing, for a picture of every row
    (``refsr.evaluate.sheets``). ``machine``: what runs the model. ``progress`` is called with the
    finished share, 0..1.

    Returns {"protocol", "model", "look", "ensemble", "reference", "run_by", "rows", "mean"}: what
    ran it (runtime, provider, precision, threads, memory; empty for bicubic and Lanczos); a row for
    each job with input, reference, kind and METRICS (of the result and of bicubic), with ``lpips``
    also OPTIONAL_METRICS; the mean by kind, of "all", and of the "matching" rows where some rows
    are irrelevant. The result can be written as JSON.

    Raises DataError for jobs that cannot be run as asked or a missing extra, PhotoError for a photo
    that cannot be read or a sheet that cannot be written, ModelError for a model that cannot be
    loaded.
    """
    if not jobs:
        raise DataError("There are no pairs to evaluate.")
    if reference not in get_args(ReferenceMode):
        modes = ", ".join(get_args(ReferenceMode))
        raise DataError(f"There is no reference mode {reference!r}; choose one of {modes}.")
    if max_side is not None and max_side < MIN_SIDE:
        raise DataError(f"max_side = {max_side} is too small to measure; give {MIN_SIDE} or more.")
    kind = choose_kind(photo, jpeg)
    chosen = [job.references for job in jobs]
    if reference in ("shuffled", "as-is-shuffled"):
        chosen = shuffled_references(jobs)
    if sheets is not None:
        make_folder(sheets)
    distance = lpips_metric.load_lpips() if lpips else None
    runner = load_method(model, look, ensemble, machine, reference.startswith("as-is"))
    rows: list[dict[str, Any]] = []
    for index, (job, paths) in enumerate(zip(jobs, chosen, strict=True)):
        hr = load_truth(job.input, max_side)
        source = simulate(hr, kind, seed=index)
        lr = decode_lr(source)
        bicubic = imresize(lr, scale=float(SCALE))
        references = reference_pixels(reference, paths, hr, lr, max_side)
        start = time.perf_counter()
        sr = runner.method(source, references)
        seconds = time.perf_counter() - start
        baseline = measure(bicubic, hr, distance)
        used = [job.relative(path) for path in paths] if reference in WITH_PATHS else []
        rows.append(
            {
                "input": job.relative(job.input),
                "reference": ";".join(used),
                "kind": job.kind,
                **measure(sr, hr, distance),
                **{f"bicubic_{name}": value for name, value in baseline.items()},
                "seconds": seconds,
            }
        )
        if sheets is not None:
            gain = rows[-1]["psnr"] - rows[-1]["bicubic_psnr"]
            page = draw_sheet(references, bicubic, sr, hr)
            write_sheet(sheets, index, rows[-1]["input"], gain, page)
        if progress:
            progress((index + 1) / len(jobs))
    return {
        "protocol": describe_protocol(max_side, reference, kind, lpips),
        "model": model,
        "look": look,
        "ensemble": ensemble,
        "reference": reference,
        "run_by": runner.run_by,
        "rows": rows,
        "mean": mean_by_kind(rows),
    }


def choose_kind(photo: str | None, jpeg: int | None) -> PhotoKind:
    """How photos are shrunk: ``photo``, or "jpeg:QUALITY" by its older name. Raises DataError."""
    if photo is not None and jpeg is not None:
        raise DataError(f"--jpeg {jpeg} is the same as --photo jpeg:{jpeg}; give only one of them.")
    if jpeg is not None:
        return parse_kind(f"jpeg:{jpeg}")
    return MATLAB if photo is None else parse_kind(photo)


def measure(sr: Pixels, hr: Pixels, distance: Distance | None = None) -> dict[str, float]:
    """PSNR in dB, SSIM, HaarPSI and fine detail of a result (HWC, uint8) against the truth.

    With ``distance`` (from ``load_lpips``) also LPIPS.
    """
    values = {
        "psnr": min(psnr(sr, hr, BORDER), MAX_PSNR),
        "ssim": ssim(sr, hr, BORDER),
        "haarpsi": perceptual.haarpsi(sr, hr, BORDER),
        "detail": perceptual.detail_share(sr, hr, BORDER),
    }
    return values if distance is None else {**values, "lpips": distance(sr, hr, BORDER)}


def lanczos(lr: Pixels) -> Pixels:
    """Pillow's Lanczos (a = 3) x4: HWC uint8 to HWC uint8."""
    height, width = lr.shape[:2]
    size = (width * SCALE, height * SCALE)
    return np.asarray(Image.fromarray(lr).resize(size, Image.Resampling.LANCZOS))


def load_method(
    model: str,
    look: Mode = "true",
    ensemble: bool = False,
    machine: Machine = AUTO_MACHINE,
    as_is: bool = False,
) -> Runner:
    """What maps (LR photo, references) to the photo four times larger.

    ``as_is``: by the network alone, see ``refsr.evaluate.as_is``. Raises ModelError, and DataError
    for a look that the model does not have or a method that has no network to be alone.
    """
    if model == "bicubic":
        return Runner(lambda lr, references: imresize(decode_lr(lr), scale=float(SCALE)))
    if model == "lanczos":
        return Runner(lambda lr, references: lanczos(decode_lr(lr)))
    from refsr.upscaler import Upscaler

    upscaler = Upscaler.load(
        model,
        look=look,
        ensemble=ensemble,
        device=machine.device,
        runtime=machine.runtime,
        max_memory=machine.max_memory,
    )
    network, memory = upscaler.networks.clean, upscaler.max_memory
    run_by = describe_run(network, memory)
    if as_is:
        if network is None:
            raise DataError(f"{model} is no network: it cannot use a reference as it is.")
        return Runner(lambda lr, refs: run_as_is(network, decode_lr(lr), refs, memory), run_by)

    def method(lr: LowRes, references: list[Pixels]) -> Pixels:
        upscaler.set_reference(references or None)
        return np.asarray(upscaler.upscale(lr).image)

    return Runner(method, run_by)


def describe_run(network: TileNetwork | None, max_memory: int) -> dict[str, Any]:
    """Runtime, provider, precision, threads and memory, for the record; without a network fewer."""
    facts: dict[str, Any] = {"threads": usable_cores(), "max_memory": max_memory}
    if network is None:
        return facts
    runtime, _, provider = network.provider.partition(", ")
    name, _, precision = provider.partition(" ")  # ONNX Runtime computes in float32
    return {"runtime": runtime, "provider": name, "precision": precision or "float32", **facts}


def mean_by_kind(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The mean of every metric, and of the gain over bicubic, by kind and of all rows."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    groups = {kind: [row for row in rows if row["kind"] == kind] for kind in kinds}
    if IRRELEVANT in groups and len(groups) > 1:
        groups["matching"] = [row for row in rows if row["kind"] != IRRELEVANT]
    groups["all"] = list(rows)
    metrics = [name for name in (*METRICS, *OPTIONAL_METRICS) if name in rows[0]]
    mean: dict[str, dict[str, float]] = {}
    for name, group in groups.items():
        values = {metric: float(np.mean([row[metric] for row in group])) for metric in metrics}
        gain = {
            "gain_psnr": values["psnr"] - values["bicubic_psnr"],
            "gain_ssim": values["ssim"] - values["bicubic_ssim"],
        }
        mean[name] = {"pairs": len(group), **values, **gain}
    return mean
