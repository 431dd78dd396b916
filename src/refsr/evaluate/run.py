"""The evaluation: shrink the truth, upscale it, compare; every choice is named with the numbers."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from refsr.arrays import Pixels
from refsr.data.layouts import scene_of
from refsr.errors import DataError
from refsr.evaluate import lpips as learned
from refsr.evaluate import perceptual
from refsr.evaluate.metrics import SSIM_WINDOW, psnr, ssim
from refsr.evaluate.pairs import EvaluationJob
from refsr.evaluate.sheets import sheet, write_sheet
from refsr.image.atomic import make_folder
from refsr.inference.ensemble import Mode
from refsr.resize import SCALE, imresize

BORDER = SCALE  # the field's convention: as many pixels as the scale
# The least multiple of SCALE in which an SSIM window and HaarPSI's largest filter fit.
SMALLEST = -(-(max(SSIM_WINDOW, perceptual.SMALLEST) + 2 * BORDER) // SCALE) * SCALE
EQUAL = 100.0  # dB that count for an exact copy, whose PSNR is infinite, so that means stay finite
GREY = 128  # a blank reference: the middle of 8 bits
IRRELEVANT = "irrelevant"  # the kind of a pair that shows two different things

ReferenceMode = Literal["given", "none", "shuffled", "blank", "self", "upscaled"]
MODE_SENTENCES: dict[str, str] = {
    "given": "the references that the list names",
    "none": "no reference",
    "shuffled": "the references of another row, of which none shows the input's scene",
    "blank": f"one image of gray level {GREY}, as large as the given reference (else as the truth)",
    "self": "the shrunk photo itself",
    "upscaled": "the shrunk photo, upscaled by bicubic",
}
METRICS = (
    *("psnr", "ssim", "haarpsi", "detail"),
    *("bicubic_psnr", "bicubic_ssim", "bicubic_haarpsi", "bicubic_detail", "seconds"),
)
ON_REQUEST = ("lpips", "bicubic_lpips")  # metrics of an evaluation that was asked for them

Small = Pixels | bytes  # the small photo: its pixels, or a JPEG file of them
Method = Callable[[Small, list[Pixels]], Pixels]


def evaluate(
    jobs: Sequence[EvaluationJob],
    *,
    model: str = "auto",
    reference: ReferenceMode = "given",
    max_side: int | None = None,
    jpeg: int | None = None,
    look: Mode = "true",
    ensemble: bool = False,
    lpips: bool = False,
    sheets: Path | None = None,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Upscale every job's shrunk photo and compare the result with the photo.

    ``model``: bicubic, lanczos, or what ``Upscaler.load`` takes. ``reference``: what the model gets
    beside the photo. ``max_side``: photos and references are first shrunk to this long side (px).
    ``jpeg``: the shrunk photo is a JPEG file of this quality, 1 to 100, as libjpeg counts.
    ``look``, ``ensemble``: as for ``Upscaler.load``. ``lpips``: measure LPIPS, too, which needs the
    extra `lpips`. ``sheets``: a folder, made if missing, for a picture of every row
    (``refsr.evaluate.sheets``). ``progress`` is called with the finished share, 0..1.

    Returns {"protocol", "model", "look", "ensemble", "reference", "rows", "mean"}: a row for each
    job with input, reference, kind and METRICS (``measured``, and of bicubic), with ``lpips`` also
    ON_REQUEST; the mean by kind, of "all", and of the "matching" rows where some rows are
    irrelevant. It is ready for JSON.

    Raises DataError for jobs that cannot be run as asked or a missing extra, PhotoError for a photo
    that cannot be read or a sheet that cannot be written, ModelError for a model that cannot be
    loaded.
    """
    if not jobs:
        raise DataError("There are no pairs to evaluate.")
    if reference not in get_args(ReferenceMode):
        modes = ", ".join(get_args(ReferenceMode))
        raise DataError(f"There is no reference mode {reference!r}; there are: {modes}.")
    if max_side is not None and max_side < SMALLEST:
        raise DataError(f"Photos of {max_side} px are too small to measure; {SMALLEST} px will do.")
    if jpeg is not None and not 1 <= jpeg <= 100:
        raise DataError(f"A JPEG quality of {jpeg} does not exist; choose 1 to 100.")
    given = shuffled(jobs) if reference == "shuffled" else [job.references for job in jobs]
    if sheets is not None:
        make_folder(sheets)
    distance = learned.load_lpips() if lpips else None
    method = load_method(model, look, ensemble)
    rows: list[dict[str, Any]] = []
    for index, (job, paths) in enumerate(zip(jobs, given, strict=True)):
        hr = load_truth(job.input, max_side)
        lr = imresize(hr, scale=1 / SCALE)
        small: Small = lr if jpeg is None else as_jpeg(lr, jpeg)
        lr = pixels_of(small)
        bicubic = imresize(lr, scale=float(SCALE))
        references = reference_pixels(reference, paths, hr, lr, max_side)
        started = time.perf_counter()
        sr = method(small, references)
        seconds = time.perf_counter() - started
        of_bicubic = measured(bicubic, hr, distance)
        used = [job.shown(path) for path in paths] if reference in ("given", "shuffled") else []
        rows.append(
            {
                "input": job.shown(job.input),
                "reference": ";".join(used),
                "kind": job.kind,
                **measured(sr, hr, distance),
                **{f"bicubic_{name}": value for name, value in of_bicubic.items()},
                "seconds": seconds,
            }
        )
        if sheets is not None:
            gain = rows[-1]["psnr"] - rows[-1]["bicubic_psnr"]
            page = sheet(references, bicubic, sr, hr)
            write_sheet(sheets, index, rows[-1]["input"], gain, page)
        if progress:
            progress((index + 1) / len(jobs))
    return {
        "protocol": describe_protocol(max_side, reference, jpeg, lpips),
        "model": model,
        "look": look,
        "ensemble": ensemble,
        "reference": reference,
        "rows": rows,
        "mean": mean_by_kind(rows),
    }


def measured(sr: Pixels, hr: Pixels, distance: learned.Distance | None = None) -> dict[str, float]:
    """How near a result (HWC, uint8) comes to the truth: PSNR in dB, SSIM, HaarPSI, fine detail.

    With ``distance`` (``load_lpips``) also LPIPS.
    """
    values = {
        "psnr": min(psnr(sr, hr, BORDER), EQUAL),
        "ssim": ssim(sr, hr, BORDER),
        "haarpsi": perceptual.haarpsi(sr, hr, BORDER),
        "detail": perceptual.detail_share(sr, hr, BORDER),
    }
    return values if distance is None else {**values, "lpips": distance(sr, hr, BORDER)}


def describe_protocol(
    max_side: int | None, reference: ReferenceMode, jpeg: int | None = None, lpips: bool = False
) -> dict[str, Any]:
    """Every choice on which the numbers depend; "lpips" only where that is measured."""
    from refsr import __version__

    packed = "" if jpeg is None else f", then JPEG of quality {jpeg} (4:2:0)"

    return {
        "scale": SCALE,
        "truth": "8-bit RGB, upright, no alpha; bottom and right cropped to a multiple of 4",
        "max_side": max_side,
        "lr": "MATLAB-compatible antialiased bicubic (a = -0.5) of the truth, rounded to 8 bits"
        + packed,
        "bicubic": "the same kernel upwards, rounded to 8 bits",
        "lanczos": "Pillow's Lanczos (a = 3) of the LR, rounded to 8 bits",
        "channel": "BT.601 luma (16 to 235, not rounded) of the 8-bit result",
        "border": BORDER,
        "psnr": f"peak 255; an exact copy counts {EQUAL:g} dB",
        "ssim": "11x11 Gaussian of sigma 1.5, windows wholly inside, K1 0.01, K2 0.03, L 255",
        "haarpsi": "Reisenhofer et al. 2018, of RGB: how it looks beside the truth, 0 to 1",
        "detail": "root of the energy of luma that shrinking by four loses, over the truth's",
        **({"lpips": learned.PROTOCOL} if lpips else {}),
        "mean": "of the rows' values",
        "references": MODE_SENTENCES[reference],
        "reference_size": "as it is" if max_side is None else f"long side at most {max_side} px",
        "seconds": "preparing the references and upscaling; reading the files is not counted",
        "refsr": __version__,
    }


def load_pixels(path: Path, max_side: int | None) -> Pixels:
    """A photo as 8-bit RGB (HWC), shrunk to ``max_side`` px if it is larger. Raises PhotoError."""
    from refsr.image.photo import load_photo

    pixels = load_photo(path).as_uint8()
    height, width = pixels.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return pixels
    shrink = max_side / max(height, width)
    return imresize(pixels, size=(max(1, round(height * shrink)), max(1, round(width * shrink))))


def load_truth(path: Path, max_side: int | None) -> Pixels:
    """The true photo (HWC, uint8), its sides multiples of SCALE. Raises PhotoError, DataError."""
    pixels = load_pixels(path, max_side)
    height, width = (side // SCALE * SCALE for side in pixels.shape[:2])
    if min(height, width) < SMALLEST:
        raise DataError(
            f"{path} is too small to measure ({pixels.shape[1]} x {pixels.shape[0]} pixels); "
            f"each side needs {SMALLEST}."
        )
    return np.ascontiguousarray(pixels[:height, :width])


def shuffled(jobs: Sequence[EvaluationJob]) -> list[tuple[Path, ...]]:
    """For every job the references of another, of which none shows the job's scene.

    Deterministic: the search starts half the list away, so that neighbours do not swap.
    Raises DataError where no such job exists.
    """
    if not any(job.references for job in jobs):
        raise DataError("These jobs have no references to shuffle; use the mode none.")
    out: list[tuple[Path, ...]] = []
    for index, job in enumerate(jobs):
        scene = scene_of(job.input)
        for step in range(len(jobs)):
            other = jobs[(index + len(jobs) // 2 + step) % len(jobs)].references
            if other and all(scene_of(path) != scene for path in other):
                out.append(other)
                break
        else:
            raise DataError(
                f"No other scene's reference can be given to {job.shown(job.input)}: "
                "shuffling needs rows of two scenes at least."
            )
    return out


def reference_pixels(
    mode: ReferenceMode, paths: Sequence[Path], hr: Pixels, lr: Pixels, max_side: int | None
) -> list[Pixels]:
    """What the model gets beside the photo: RGB images (HWC, uint8). Raises PhotoError."""
    if mode == "none":
        return []
    if mode == "self":
        return [lr]
    if mode == "upscaled":
        return [imresize(lr, scale=float(SCALE))]
    references = [load_pixels(path, max_side) for path in paths]
    if mode == "blank":
        return [np.full_like(references[0] if references else hr, GREY)]
    return references


def as_jpeg(pixels: Pixels, quality: int) -> bytes:
    """A JPEG file of an image (HWC, uint8), its chroma at half resolution."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return file.getvalue()


def pixels_of(small: Small) -> Pixels:
    """The small photo's pixels (HWC, uint8)."""
    from refsr.image.photo import load_photo

    return load_photo(small).as_uint8() if isinstance(small, bytes) else small


def lanczos(lr: Pixels) -> Pixels:
    """Pillow's Lanczos (a = 3), four times larger: HWC uint8."""
    height, width = lr.shape[:2]
    size = (width * SCALE, height * SCALE)
    return np.asarray(Image.fromarray(lr).resize(size, Image.Resampling.LANCZOS))


def load_method(model: str, look: Mode = "true", ensemble: bool = False) -> Method:
    """A function from (LR photo, references) to the photo four times larger.

    Raises ModelError, and DataError for a look that the model has not.
    """
    if model == "bicubic":
        return lambda small, references: imresize(pixels_of(small), scale=float(SCALE))
    if model == "lanczos":
        return lambda small, references: lanczos(pixels_of(small))
    from refsr.upscaler import Upscaler

    upscaler = Upscaler.load(model, look=look, ensemble=ensemble)

    def method(small: Small, references: list[Pixels]) -> Pixels:
        upscaler.set_reference(references or None)
        return np.asarray(upscaler.upscale(small).image)

    return method


def mean_by_kind(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The mean of every metric, and of the gain over bicubic, by kind and of all rows."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    groups = {kind: [row for row in rows if row["kind"] == kind] for kind in kinds}
    if IRRELEVANT in groups and len(groups) > 1:
        groups["matching"] = [row for row in rows if row["kind"] != IRRELEVANT]
    groups["all"] = list(rows)
    metrics = [name for name in (*METRICS, *ON_REQUEST) if name in rows[0]]
    mean: dict[str, dict[str, float]] = {}
    for name, group in groups.items():
        values = {metric: float(np.mean([row[metric] for row in group])) for metric in metrics}
        gain = {
            "gain_psnr": values["psnr"] - values["bicubic_psnr"],
            "gain_ssim": values["ssim"] - values["bicubic_ssim"],
        }
        mean[name] = {"pairs": len(group), **values, **gain}
    return mean


def aligned(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """A plain-text table, a string a line: the first column to the left, the others right."""
    widths = [max(len(line[i]) for line in (head, *lines)) for i in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (head, *lines)
    ]


def render_table(result: dict[str, Any]) -> str:
    """The means of an evaluation as an aligned plain-text table, its protocol in the last lines."""
    protocol = result["protocol"]
    with_lpips = "lpips" in protocol
    head = (
        *("kind", "pairs", "bicubic", "PSNR", "gain dB", "SSIM", "gain", "HaarPSI", "gain"),
        *(("LPIPS", "bicubic's") if with_lpips else ()),
        *("detail", "s/pair"),
    )
    lines = [
        (
            kind,
            f"{mean['pairs']}",
            f"{mean['bicubic_psnr']:.2f}",
            f"{mean['psnr']:.2f}",
            f"{mean['gain_psnr']:+.2f}",
            f"{mean['ssim']:.4f}",
            f"{mean['gain_ssim']:+.4f}",
            f"{mean['haarpsi']:.4f}",
            f"{mean['haarpsi'] - mean['bicubic_haarpsi']:+.4f}",
            *([f"{mean[name]:.4f}" for name in ON_REQUEST] if with_lpips else ()),
            f"{mean['detail']:.2f}",
            f"{mean['seconds']:.2f}",
        )
        for kind, mean in result["mean"].items()
    ]
    table = aligned(head, lines)
    side = protocol["max_side"] or "any"
    return "\n".join(
        [
            f"model {result['model']}, reference {result['reference']}: {protocol['references']}",
            *table,
            f"x{protocol['scale']}, {protocol['channel']}; border {protocol['border']} px; "
            f"long side {side}",
            f"LR: {protocol['lr']}",
            "HaarPSI: perceptual similarity; detail: fine detail as a share of the truth's",
            *([f"LPIPS: {protocol['lpips']}"] if with_lpips else ()),
        ]
    )
