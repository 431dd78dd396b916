"""What a worker does with the photos in a job's folder: look, enlarge, render.

The folder holds the uploads under the names ``photo`` and ``reference-1``, ``reference-2``, ...
What the user calls them stands in the task's ``names``; no file is named by an upload.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.image.levels import to_8_bits
from refsr.image.photo import Photo, load_photo, save_photo
from refsr.inference.budget import Estimate
from refsr.inference.degradation import estimate_degradation, is_damaged
from refsr.inference.estimate import USUAL_COST
from refsr.inference.memory import trim_heap
from refsr.inference.network import Network
from refsr.registration.fusion import Composite, shares_of
from refsr.registration.large_image import register_coarse
from refsr.registration.matching import NO_FEATURES
from refsr.registration.reference import Reference
from refsr.report.provenance import tints
from refsr.report.report import describe, expected_together
from refsr.upscaler import Result, Upscaler
from refsr.web.outline import outlines

LOOKED_AT = 100_000  # LR pixels of a photo that is registered for a verdict; larger ones shrunk
THUMBNAIL = 900  # pixels, the long side of the pictures beside the verdict
PREVIEW_PIXELS = 12_000_000  # a browser shows more neither quickly nor, on a phone, at all
BAND = 256  # rows that are blended at a time
TINT_PIXELS = 1_000_000  # of the map: it is no finer than the photo

Answer = dict[str, Any]
Tell = Callable[[Answer], None]


class Bench:
    """What a worker keeps from task to task: its model and its limits."""

    def __init__(
        self, model: str, max_memory: int, threads: int, photo_pixels: int, reference_pixels: int
    ) -> None:
        """``max_memory``: bytes. Raises ModelError."""
        self.photo_pixels = photo_pixels
        if threads > 0:
            cv2.setNumThreads(threads)
        self.upscaler = Upscaler.load(
            model, threads=threads, max_memory=max_memory, max_pixels=reference_pixels
        )
        # Seconds per foreseen second, of a job with references and of the network alone; each job
        # corrects them for the next.
        self.paces = self.pace(), self.pace()
        self.shown = False  # whether a job has done so

    def pace(self) -> float:
        """Seconds per foreseen second of the network at this moment, by a small tile."""
        network = self.upscaler.network
        return max(1.0, network.pace() / USUAL_COST[1]) if isinstance(network, Network) else 1.0

    def photo(self, folder: Path) -> Photo:
        """The small photo. Raises PhotoError."""
        return load_photo(folder / "photo", max_pixels=self.photo_pixels)


class EtaEstimator:
    """Tells how long a job will still take.

    A job with references is a registration and two runs of the network: with them, and without for
    the dial. How fast the registration went says nothing of the network: the first progress, which
    tells the registration's share of the first run, starts the network's own time.
    """

    def __init__(
        self,
        tell: Tell,
        runs: int,
        paces: tuple[float, float],
        measure: Callable[[], float] | None = None,
    ) -> None:
        """``paces``: see ``Bench``. ``measure``: the pace of the network as it begins.

        It is for a process's first job: the pace of its start may be long out of date.
        """
        self.tell, self.runs, self.measure = tell, runs, measure
        self.whole, self.pace = paces
        self.began = self.started = time.perf_counter()  # of the job, and of the network in it
        self.foreseen = self.network = 0.0  # seconds of the first run and of the network in it
        self.over = 0  # runs that are over
        self.registration = 0.0  # its share of the run
        self.registered = runs == 1

    def announce(self, estimate: Estimate) -> None:
        """Take what the upscaler foresees of the first run."""
        if self.foreseen:
            return
        self.began = time.perf_counter()
        if self.registered:
            self.begin()
        self.foreseen = self.network = estimate.seconds
        pace = self.pace if self.registered else self.whole
        self.tell({"left": self.runs * self.foreseen * pace})

    def progress(self, done: float) -> None:
        """Take the finished share of a run."""
        if not self.registered:
            self.registered, self.registration = True, done
            self.network = self.foreseen * (1 - done)
            self.begin()
        first = self.registration if not self.over else 0.0
        self.say(self.over + (done - first) / max(1 - first, 1e-9))

    def begin(self) -> None:
        """The network begins."""
        if self.measure is not None:
            self.pace = self.measure()
        self.started = time.perf_counter()

    def next_run(self) -> None:
        """The first run is over, and there is another."""
        self.over = 1
        self.say(1.0)

    def say(self, runs: float) -> None:
        """Tell, by how fast so many ``runs`` of the network went."""
        if runs > 0.05 * self.runs:
            self.pace = (time.perf_counter() - self.started) / (runs * max(self.network, 1e-9))
        self.tell({"left": max(0.0, self.runs - runs) * self.network * self.pace})

    def finished(self) -> tuple[float, float]:
        """All is done, written files included; returns the paces for the next job."""
        runs, now = self.over + 1, time.perf_counter()
        self.pace = (now - self.started) / (runs * max(self.network, 1e-9))
        if self.runs > 1:
            self.whole = (now - self.began) / (runs * max(self.foreseen, 1e-9))
        return self.whole, self.pace


def look(bench: Bench, task: Answer, tell: Tell) -> Answer:
    """Register the references and say what they are worth, with outlines of what they share.

    Leaves ``photo.jpg`` and ``reference-1.jpg``, ... in the folder: small, to draw on.
    """
    del tell
    folder, names = Path(task["folder"]), task["names"]
    parts = [part for part in names if part != "photo"]
    photo = bench.photo(folder)
    thumbnail(photo, folder / "photo.jpg")
    composite = registered(bench.upscaler, photo, folder, parts)
    references: list[Answer] = []
    for index, part in enumerate(parts):
        assert composite is not None
        row = describe(names[part], composite, index)
        references.append({**row, "part": part, "outlines": outlines(composite, index)})
    gain = expected_together(composite)
    trim_heap()
    return {
        "photo": {
            "name": names["photo"],
            "width": photo.width,
            "height": photo.height,
            "damaged": is_damaged(estimate_degradation(photo)),
            "notes": list(photo.notes),
        },
        "references": references,
        "expected_gain_db": round(gain, 2),
    }


def registered(
    upscaler: Upscaler, photo: Photo, folder: Path, parts: list[str]
) -> Composite | None:
    """The references of a photo registered one after the other: memory holds one at a time.

    The composite says all of them, but their pixels are gone. Thumbnails are left in the folder.
    """

    def one(part: str) -> Composite:
        reference = upscaler.load_reference(folder / part)
        thumbnail(reference.photo, folder / f"{part}.jpg")
        prepared = upscaler.in_colors_of(photo, (reference,))
        found = register_coarse(photo.as_uint8(), prepared, LOOKED_AT).composite
        shape = reference.photo.pixels.shape
        none = np.broadcast_to(np.uint8(0), shape)
        empty = Reference(none, NO_FEATURES, [], [], shown=reference.prepared.shown[-1:])
        return replace(found, references=(empty,))

    alone: list[Composite] = []
    for part in parts:
        alone.append(one(part))
        trim_heap()
    if not alone:
        return None
    registrations = tuple(one.registrations[0] for one in alone)
    useful = tuple(one.useful[0] for one in alone)
    return Composite(
        alone[0].lr,
        tuple(one.references[0] for one in alone),
        registrations,
        shares_of(registrations, useful),
        useful,
    )


def enlarge(bench: Bench, task: Answer, tell: Tell) -> Answer:
    """Upscale with the references and, for the dial, without; returns the report.

    Leaves the results' pixels (``full.npy``, ``plain.npy``, ``alpha.npy``) and, for the page, the
    pictures ``result.png``, ``plain.png``, ``before.png`` and ``map.png`` in the folder.
    """
    folder, names = Path(task["folder"]), task["names"]
    parts = [part for part in names if part != "photo"]
    photo = bench.photo(folder)
    preview(photo, folder / "before.png")
    clock = EtaEstimator(tell, 2 if parts else 1, bench.paces, None if bench.shown else bench.pace)
    upscaler = bench.upscaler
    for part in ["plain", "full", "alpha"]:
        (folder / f"{part}.npy").unlink(missing_ok=True)  # of a run at another scale

    def run(references: list[Path], name: str) -> Result:
        upscaler.set_reference(references)
        result = upscaler.upscale(
            folder / "photo",
            scale=task["scale"],
            progress=clock.progress,
            announce=clock.announce,
        )
        np.save(folder / f"{name}.npy", result.photo.pixels)
        return result

    result = run([folder / part for part in parts], "full")
    report = result.report
    if result.photo.alpha is not None:
        np.save(folder / "alpha.npy", result.photo.alpha)
    preview(result.photo, folder / "result.png")
    save_photo(tinted(result), folder / "map.png")
    for row, part in zip(report["references"], parts, strict=True):
        row["reference"] = names[part]
    if any(row["used"] for row in report["references"]):
        del result  # its pixels are on the disk
        clock.next_run()
        preview(run([], "plain").photo, folder / "plain.png")
    bench.paces, bench.shown = clock.finished(), True
    upscaler.set_reference(None)
    trim_heap()
    return report


def render(bench: Bench, task: Answer, tell: Tell) -> Answer:
    """Write the result at a strength, with the photo's metadata, to the folder's file ``out``.

    Between 0 and 1 it is a blend of the results without and with references, as on the page; at
    the ends it is exactly the one or the other.
    """
    del tell
    folder = Path(task["folder"])
    photo = bench.photo(folder)
    alpha = np.load(folder / "alpha.npy") if photo.alpha is not None else None
    result = photo.replaced(blended(folder, task["strength"]), alpha)
    save_photo(result, folder / task["out"], strip_metadata=task["strip"])
    trim_heap()
    return {}


TASKS: dict[str, Callable[[Bench, Answer, Tell], Answer]] = {
    "look": look,
    "enlarge": enlarge,
    "render": render,
}


def blended(folder: Path, strength: float) -> NDArray[Any]:
    """The result at a strength 0..1, (H, W, 3) of the photo's type."""
    full = np.load(folder / "full.npy", mmap_mode="r")
    if strength >= 1 or not (folder / "plain.npy").exists():
        return full
    plain = np.load(folder / "plain.npy", mmap_mode="r")
    if strength <= 0:
        return plain
    mixed = np.empty(full.shape, full.dtype)
    for top in range(0, len(full), BAND):
        rows = slice(top, top + BAND)
        with_ref, without = full[rows].astype(np.float32), plain[rows].astype(np.float32)
        mixed[rows] = np.rint(without + np.float32(strength) * (with_ref - without))
    return mixed


def preview(photo: Photo, path: Path) -> None:
    """Write a PNG for the page: without metadata, and shrunk where it would be too large."""
    save_photo(shrunk(photo, PREVIEW_PIXELS), path, strip_metadata=True)


def thumbnail(photo: Photo, path: Path) -> None:
    """Write a JPEG of at most THUMBNAIL pixels a side."""
    most = photo.width * photo.height * (THUMBNAIL / max(photo.width, photo.height)) ** 2
    save_photo(shrunk(photo, most), path, quality=88, strip_metadata=True)


def shrunk(photo: Photo, most_pixels: float) -> Photo:
    """A photo of at most so many pixels, in 8 bits."""
    shrink = (most_pixels / (photo.width * photo.height)) ** 0.5
    if shrink >= 1:
        return photo.replaced(photo.as_uint8(), as_8_bits(photo.alpha))
    size = max(1, round(photo.width * shrink)), max(1, round(photo.height * shrink))

    def smaller(plane: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.uint8)

    alpha = as_8_bits(photo.alpha)
    return photo.replaced(smaller(photo.as_uint8()), None if alpha is None else smaller(alpha))


def as_8_bits(alpha: NDArray[Any] | None) -> NDArray[np.uint8] | None:
    """An alpha plane in 8 bits."""
    return None if alpha is None else to_8_bits(alpha)


def tinted(result: Result) -> Photo:
    """The map as a transparent picture to lay over the result: green borrowed, orange guessed."""
    planes = tints(result.amounts) * 255
    photo = Photo(planes[..., :3].round().astype(np.uint8), planes[..., 3].round().astype(np.uint8))
    return shrunk(photo, TINT_PIXELS)
