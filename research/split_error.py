"""Splits the error by its cause: registration, the reference's limits, fusion, no reference.

    python research/split_error.py [--photos N] [--model ssen] [--real]

One view of each held-out scene is the truth; its reference is rendered with a known homography,
nearer by 1.15, darker, noisy, JPEG 95. PSNR (BT.601 luma, 8 bits, border 4) with: no reference; the
registered reference; the same reference with the true alignment; the truth itself as aligned
reference. The photos' long side is 800 pixels.

``--real``: two views of each held-out scene, where they register. Their true alignment is unknown,
but the truth determines it better than the LR photo: the aligned reference is refined by optical
flow to the truth at HR size, with the registration's validity or full validity. Its gain bounds
what a better registration, or validity, can achieve.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr import Upscaler
from refsr.arrays import Pixels
from refsr.evaluate.metrics import psnr
from refsr.evaluate.protocol import encode_jpeg, load_truth
from refsr.image.photo import load_photo
from refsr.inference.back_projection import back_project
from refsr.resize import imresize

HERE = Path(__file__).resolve().parents[1]
ROOT = HERE.parent / "shared" / "data" / "pairs"
SIDE = 800  # HR pixels
ZOOM, EXPOSURE, NOISE, QUALITY = 1.15, 0.85, 1.5, 95

COLUMNS = ("bicubic", "none", "registered", "truly aligned", "the truth")
REAL_COLUMNS = ("bicubic", "none", "registered", "refined to the truth", "full validity")
SMOOTH = 4.0  # HR pixels: sigma of the flow's smoothing, which else follows noise


def rendered(hr: Pixels, rng: np.random.Generator) -> tuple[Pixels, NDArray[np.float64]]:
    """Another view of a photo, and the homography from the photo's pixels to it."""
    height, width = hr.shape[:2]
    size = round(width * ZOOM), round(height * ZOOM)
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = corners * ZOOM + rng.uniform(-0.04, 0.04, (4, 2)) * size
    view = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    image = cv2.warpPerspective(hr, view, size, flags=cv2.INTER_CUBIC).astype(np.float64)
    image = 255 * (image / 255) ** 1.1 * EXPOSURE + rng.normal(0, NOISE, image.shape)
    pixels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return load_photo(encode_jpeg(pixels, QUALITY)).as_uint8(), view


def fused(upscaler: Upscaler, hr: Pixels, aligned: Pixels, validity: NDArray[np.float32]) -> float:
    """PSNR in dB of the network's result from ``hr`` shrunk and an aligned reference."""
    assert upscaler.networks.clean is not None
    lr = imresize(hr, scale=0.25).astype(np.float32) / 255
    sr = upscaler.networks.clean.run(lr, aligned.astype(np.float32) / 255, validity)[0]
    sr = np.clip(back_project(sr, lr), 0, 1)
    return psnr(np.rint(sr * 255).astype(np.uint8), hr, border=4)


def measure_real(upscaler: Upscaler, hr: Pixels, reference: Path) -> list[float] | None:
    """PSNR in dB, one for each of REAL_COLUMNS; None where the reference is not used."""
    lr = imresize(hr, scale=0.25)
    upscaler.set_reference(reference)
    composite = upscaler.check(lr).composite
    if composite is None or not composite.matched:
        return None
    aligned, validity = composite.aligned(slice(0, lr.shape[0]), slice(0, lr.shape[1]))
    aligned = np.rint(aligned * 255).astype(np.uint8)
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    gray = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (hr, aligned)]
    flow = cv2.GaussianBlur(dis.calc(*gray, None), (0, 0), SMOOTH)  # type: ignore[call-overload]
    y, x = np.mgrid[: hr.shape[0], : hr.shape[1]].astype(np.float32)
    refined = cv2.remap(aligned, x + flow[..., 0], y + flow[..., 1], cv2.INTER_CUBIC)
    return [
        psnr(imresize(lr, size=hr.shape[:2]), hr, border=4),
        fused(upscaler, hr, aligned, np.zeros_like(validity)),
        fused(upscaler, hr, aligned, validity),
        fused(upscaler, hr, refined, validity),
        fused(upscaler, hr, refined, np.ones_like(validity)),
    ]


def measure(upscaler: Upscaler, hr: Pixels, rng: np.random.Generator) -> list[float]:
    """PSNR in dB, one for each of COLUMNS."""
    lr = imresize(hr, scale=0.25)
    reference, view = rendered(hr, rng)

    def upscaled(references: list[Pixels]) -> float:
        upscaler.set_reference(references)
        return psnr(np.asarray(upscaler.upscale(lr).image), hr, border=4)

    size, flags = (hr.shape[1], hr.shape[0]), cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    aligned = cv2.warpPerspective(reference, view, size, flags=flags)
    inside = cv2.warpPerspective(
        np.ones(reference.shape[:2], np.float32), view, size, flags=cv2.WARP_INVERSE_MAP
    )
    back = aligned.astype(np.float64) / EXPOSURE / 255  # undo the known color change
    aligned = np.clip(np.rint(255 * back ** (1 / 1.1)), 0, 255).astype(np.uint8)
    return [
        psnr(imresize(lr, size=hr.shape[:2]), hr, border=4),
        upscaled([]),
        upscaled([reference]),
        fused(upscaler, hr, aligned, (inside >= 1).astype(np.float32)),
        fused(upscaler, hr, hr, np.ones(hr.shape[:2], np.float32)),
    ]


def main() -> None:
    """Print one row per photo, and the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=12)
    parser.add_argument("--model", default="ssen")
    parser.add_argument("--real", action="store_true")
    arguments = parser.parse_args()
    upscaler = Upscaler.load(arguments.model)
    columns = REAL_COLUMNS if arguments.real else COLUMNS
    scenes = (HERE / "configs" / "held_out.txt").read_text().split()[: arguments.photos]
    print("| scene |", " | ".join(columns), "|")
    print("|---|" + "---|" * len(columns))
    rows: list[list[float]] = []
    for number, scene in enumerate(scenes):
        first, second, *_ = sorted((ROOT / scene).glob("*.jpg"))
        truth = load_truth(first, SIDE)
        if arguments.real:
            row = measure_real(upscaler, truth, second)
        else:
            row = measure(upscaler, truth, np.random.default_rng(number))
        if row is not None:
            rows.append(row)
            print(f"| {scene} |", " | ".join(f"{value:.2f}" for value in row), "|", flush=True)
    print("| mean |", " | ".join(f"**{value:.2f}**" for value in np.mean(rows, axis=0)), "|")


if __name__ == "__main__":
    main()
