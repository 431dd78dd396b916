"""Measures the blind estimator on simulated photos of the validation scenes, and on real photos.

    python research/evaluate_blind.py estimates PAIRS [--out rows.json]
    python research/evaluate_blind.py pages PAIRS [--kinds matlab area ...]
    python research/evaluate_blind.py results PAIRS [--scenes 6]
    python research/evaluate_blind.py real REAL
    python research/evaluate_blind.py real-results REAL

"estimates": true and estimated center tap, noise, JPEG and aliasing, kind by kind; "ssen": how many
get the network for clean photos. "pages": the same of rendered pages, half of them in fonts that
train nothing. "results": luma PSNR without reference of the models ``ssen`` and ``ssen-robust``, on
the photo as it is and with its kernel undone as the estimate gives it. Photos are the scenes' first
views, long side 900.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from refsr.arrays import Pixels
from refsr.degradation.blind import estimate_degradation, is_degraded
from refsr.degradation.blind_estimate import BlindEstimate
from refsr.degradation.kernel import Kernel, solve, wiener_inverse
from refsr.degradation.restore import NOISE_TO_SIGNAL, NOISE_TO_SIGNAL_DISTURBED, filtered
from refsr.degradation.simulate import parse_kind, shrink, simulate
from refsr.evaluate.metrics import psnr
from refsr.evaluate.real import choose_scale, load_cases, place_truth, psnr_within
from refsr.image.photo import Photo, load_photo
from refsr.inference.blind_network import estimate_blindly
from refsr.registration.flow import luma
from refsr.registration.misfit import high_pass
from refsr.resize import SCALE, imresize
from refsr.upscaler import Upscaler
from rendered_pages import font_names, render_page

LONG_SIDE = 900  # HR pixels
PAGES = 40
PATCH = 64  # LR pixels a side of the part that the networks enlarge
KINDS = (
    *("matlab", "area", "lanczos", "sharpened", "blur:1", "blur:2", "blur:3", "blur:4", "disk:5"),
    *("motion:9,30", "linear", "nearest", "noise:5", "jpeg:75", "phone", "messenger", "old"),
)


def load_scenes(pairs: Path) -> dict[str, Pixels]:
    """The first view of each validation scene, long side 900, sides multiples of 4."""
    scenes: dict[str, Pixels] = {}
    for name in (pairs / "validation.txt").read_text().split():
        path = next(p for p in sorted((pairs / name).iterdir()) if p.suffix in (".jpg", ".png"))
        hr = load_photo(path).as_uint8()
        if max(hr.shape[:2]) > LONG_SIDE:
            hr = imresize(hr, scale=LONG_SIDE / max(hr.shape[:2]))
        height, width = (side // SCALE * SCALE for side in hr.shape[:2])
        scenes[name] = np.ascontiguousarray(hr[:height, :width])
    return scenes


def load_pages() -> dict[str, Pixels]:
    """Rendered pages of other seeds than those that train; sides of 240 to 800 HR pixels."""
    pages: dict[str, Pixels] = {}
    for number in range(PAGES):
        rng = np.random.default_rng((20261127, number))
        width, height = (SCALE * round(60 * (10 / 3) ** rng.random()) for _ in range(2))
        fonts = font_names(kept_out=number % 2 == 0)
        pages[f"page_{number}"] = render_page(rng, width, height, fonts)
    return pages


def true_kernel(lr: Photo, hr: Pixels) -> Kernel:
    """The kernel between MATLAB's bicubic of the truth and a small photo."""
    detail, source = high_pass(luma(lr.as_uint8())), high_pass(luma(shrink(hr)))
    inside = np.zeros(detail.shape, np.float32)
    inside[4:-4, 4:-4] = 1
    kernel = solve(detail - source, source, inside)
    assert kernel is not None
    kernel[4, 4] += 1
    return kernel


def without_file(photo: Photo) -> Photo:
    """The same pixels, as if they came in a PNG."""
    return Photo.of(photo.as_uint8())


def undone(photo: Photo, estimate: BlindEstimate) -> Photo:
    """The photo with its estimated kernel undone, as a pipeline would do it."""
    if estimate.kernel is None:
        return photo
    ratio = NOISE_TO_SIGNAL_DISTURBED if estimate.is_disturbed else NOISE_TO_SIGNAL
    return filtered(photo, wiener_inverse(estimate.kernel, ratio))


def is_taken_for_clean(photo: Photo, estimate: BlindEstimate) -> bool:
    """Whether "auto" gives it the network for clean photos."""
    if estimate.is_unlike_matlab:
        return False
    return estimate.is_clean or not is_degraded(estimate_degradation(photo))


def estimates(scenes: dict[str, Pixels], kinds: tuple[str, ...], out: Path | None) -> None:
    """Print a table of means, kind by kind; the pixels alone are looked at, not the file."""
    rows: list[dict[str, Any]] = []
    print("kind          center true/est  none  noise  JPEG (seen)  aliasing clean  spread  ssen")
    for kind in kinds:
        mine: list[dict[str, Any]] = []
        for name, hr in scenes.items():
            photo = without_file(load_photo(simulate(hr, parse_kind(kind))))
            found = estimate_blindly(photo)
            center = None if found.kernel is None else float(found.kernel[4, 4])
            mine.append(
                {
                    **{"kind": kind, "scene": name, "center": center, "words": found.in_words()},
                    **{"true": float(true_kernel(photo, hr)[4, 4]), "noise": found.noise},
                    **{"jpeg": found.jpeg, "aliasing": found.aliasing, "clean": found.clean},
                    **{"spread": found.spread.kernel, "aliased": found.is_aliased},
                    "ssen": is_taken_for_clean(photo, found),
                }
            )
        rows += mine
        centers = [row["center"] for row in mine if row["center"] is not None]
        qualities = [row["jpeg"] for row in mine if row["jpeg"] is not None]
        means = {key: np.mean([row[key] for row in mine]) for key in mine[0] if key in MEANS}
        print(
            f"{kind:12} {means['true']:6.2f} {np.mean(centers) if centers else 1:6.2f}"
            f" ({np.std(centers) if centers else 0:.2f})"
            f" {len(mine) - len(centers):3d}/{len(mine)} {means['noise']:5.1f}"
            f" {np.mean(qualities) if qualities else 0:5.0f} ({len(qualities):2d})"
            f" {means['aliasing']:8.2f} ({sum(row['aliased'] for row in mine):2d})"
            f" {means['clean']:6.2f} {means['spread']:6.2f}"
            f" {sum(row['ssen'] for row in mine):3d}/{len(mine)}",
            flush=True,
        )
    if out:
        out.write_text(json.dumps(rows, indent=1))


MEANS = ("true", "noise", "aliasing", "clean", "spread")


def middle(pixels: Pixels, side: int) -> tuple[slice, slice]:
    """The middle of an image, at most ``side`` pixels a side."""
    starts = [max(0, (length - side) // 2) for length in pixels.shape[:2]]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)


def results(scenes: dict[str, Pixels], kinds: tuple[str, ...]) -> None:
    """Print luma PSNR without reference, as it is and undone, by both models."""
    models = [Upscaler.load(name, threads=1) for name in ("ssen", "ssen-robust")]
    print(f"{len(scenes)} scenes: {', '.join(scenes)}")
    print("kind         bicubic  ssen: as it is, undone  ssen-robust: as it is, undone   undone in")
    for kind in kinds:
        values: list[list[float]] = []
        count = 0
        for hr in scenes.values():
            photo = load_photo(simulate(hr, parse_kind(kind)))
            found = estimate_blindly(photo)
            count += found.kernel is not None
            rows, columns = middle(photo.as_uint8(), PATCH)
            inside = tuple(slice(s.start * SCALE, s.stop * SCALE) for s in (rows, columns))
            truth = np.ascontiguousarray(hr[inside])
            cut = [
                np.ascontiguousarray(image.as_uint8()[rows, columns])
                for image in (photo, undone(photo, found))
            ]
            scores = [psnr(imresize(cut[0], scale=float(SCALE)), truth, SCALE)]
            for model in models:
                images = cut[: 1 if found.kernel is None else 2]
                both = [psnr(np.asarray(model.upscale(x).image), truth, SCALE) for x in images]
                scores += [both[0], both[-1]]
            values.append(scores)
        mean = np.mean(values, axis=0)
        worst = np.min(np.array(values)[:, [2, 4]] - np.array(values)[:, [1, 3]], axis=0)
        print(
            f"{kind:12} {mean[0]:6.2f}   {mean[1]:6.2f} {mean[2]:6.2f}   {mean[3]:6.2f}"
            f" {mean[4]:6.2f}   {count}/{len(scenes)}  worst {worst[0]:+.2f} {worst[1]:+.2f}",
            flush=True,
        )


def real(folder: Path) -> None:
    """Print what is said of real photos."""
    for case in sorted(path for path in folder.iterdir() if path.is_dir()):
        (path,) = case.glob("small.*")
        photo = load_photo(path)
        started = time.perf_counter()
        found = estimate_blindly(photo)
        seconds = time.perf_counter() - started
        center = "none" if found.kernel is None else f"{found.kernel[4, 4]:.2f}"
        print(
            f"{case.name:18} {photo.width}x{photo.height} file {photo.jpeg_quality} {found}"
            f" [center {center}, noise {found.noise:.1f}, aliasing {found.aliasing:.2f}, clean"
            f" {found.clean:.2f}, spread {found.spread.kernel:.2f}; {seconds:.2f} s]"
        )


def real_results(folder: Path) -> None:
    """Print ``results`` for real photos in which something is undone, by their registered truth."""
    models = [Upscaler.load(name, threads=1) for name in ("ssen", "ssen-robust")]
    print("case         bicubic  ssen: as it is, undone  ssen-robust: as it is, undone")
    for case in load_cases(folder):
        photo = load_photo(case.small)
        found = estimate_blindly(photo)
        if case.truth is None or found.kernel is None:
            continue
        lr, hr = photo.as_uint8(), load_photo(case.truth).as_uint8()
        scale = choose_scale(lr, hr)
        bicubic = imresize(lr, scale=float(scale))
        truth = place_truth(hr, bicubic)
        if truth is None:
            continue
        rows, columns = middle(lr, 2 * PATCH)
        inside = tuple(slice(s.start * scale, s.stop * scale) for s in (rows, columns))
        within = truth.mask[inside].copy()
        within[:SCALE], within[-SCALE:], within[:, :SCALE], within[:, -SCALE:] = (False,) * 4
        scores = [psnr_within(bicubic[inside], truth.pixels[inside], within)]
        for model in models:
            for image in (photo, undone(photo, found)):
                cut = np.ascontiguousarray(image.as_uint8()[rows, columns])
                result = model.upscale(cut, scale=scale).photo.as_uint8()
                scores.append(psnr_within(result, truth.pixels[inside], within))
        print(case.name, f"x{scale}", " ".join(f"{score:6.2f}" for score in scores), flush=True)


def main() -> None:
    """Run one of the five."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("estimates", "pages", "results", "real", "real-results"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenes", type=int, default=99)
    parser.add_argument("--kinds", nargs="*", default=KINDS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.what == "real":
        real(options.folder)
        return
    if options.what == "real-results":
        real_results(options.folder)
        return
    if options.what == "pages":
        estimates(load_pages(), tuple(options.kinds), options.out)
        return
    scenes = load_scenes(options.folder)
    step = max(1, len(scenes) // options.scenes)
    scenes = dict(list(scenes.items())[::step][: options.scenes])
    if options.what == "estimates":
        estimates(scenes, tuple(options.kinds), options.out)
    else:
        results(scenes, tuple(options.kinds))


if __name__ == "__main__":
    main()
