"""The plan of a job: the memory and time that it will take, and how it is cut up to keep to them.

Memory is counted in arrays rather than read from the system, so that the same photo is always cut
into the same tiles; time is measured on a small piece. The constants were measured
(docs/DECISIONS.md, "Any size").
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from refsr.errors import PhotoError
from refsr.image.tiling import Tile, cut
from refsr.inference.ensemble import TileNetwork
from refsr.inference.memory import free_memory, in_words, resident
from refsr.registration import flow
from refsr.registration.geometry import enlargement
from refsr.registration.large_image import FLOW_BYTES
from refsr.registration.large_image import HALO as BLOCK_HALO
from refsr.registration.reference import WORKING_SIDE, Reference
from refsr.registration.warp import FIELD_SCALE

PROGRAM_BYTES = 200_000_000  # Python, OpenCV, the runtime and a model, in bytes
FEATURE_BYTES = 235  # of SIFT, per pixel of the image that it looks at
FIELD_BYTES = 20 * FIELD_SCALE**2  # of a registration, per LR pixel
LR_BYTES = 48  # maps of the result, per LR pixel
MAX_FLOW = 750_000  # LR pixels; larger photos are registered shrunk, then block by block
MIN_FLOW = 100_000
PICTURE_BYTES = 1_600  # of a tile beside the network, per LR pixel: some eight pictures of its size
MIN_TILE = 9_216  # LR pixels: one cell of the grid with its halo
MAX_TILE = 150_000  # larger tiles are no quicker
REGISTRATION_COST, REFINEMENT_COST = 9.0, 5.0  # times the bare flow's, per pixel of it
FEATURE_SECONDS = 3e-6  # of SIFT, per pixel; a reference has 2 MP at most
TRANSFER_BYTES = 2_000  # memory of the detail transfer per LR pixel of a tile, measured
TRANSFER_SECONDS = 5e-6  # per LR pixel
PROBED_FROM = 400_000  # LR pixels; below, measuring the network takes 2 % of the time or more
DEFAULT_COST = 7_000.0, 40e-6  # bytes and seconds per LR pixel of a smaller photo
ALONE = 0.5  # of a tile's seconds, where the reference path is skipped
TIMED_FROM = 30_000  # LR pixels; two tiles of a cell of the grid take 4 % of the time or less
# A tile takes longer than the same pixels of the small one that is measured, and is projected back
# and counted besides: 107 CPU us a pixel of the photo where 70 were measured.
TILE_WORK = 1.5
TILE_HALO = 16  # LR pixels around a tile: what is cut off beyond it changes 0.1 gray levels
GRID = 32  # LR pixels on which the tiles begin where there is no network to say it
PROBE = 192  # pixels a side of the image that the flow's speed is measured with


@dataclass(frozen=True)
class JobSize:
    """The sizes that decide what a job takes."""

    height: int  # LR pixels
    width: int
    pixel_bytes: int  # of the result's pixels with their alpha, per pixel
    scale: int
    references: tuple[Reference, ...]
    other_bytes: int = 0  # bytes of what else is kept: references in other colors

    @property
    def pixels(self) -> int:
        """LR pixels."""
        return self.height * self.width

    @property
    def result_bytes(self) -> int:
        """Bytes of the program and the result."""
        return PROGRAM_BYTES + self.pixels * (self.scale**2 * self.pixel_bytes + LR_BYTES)

    @property
    def held_bytes(self) -> int:
        """Bytes that are there from the beginning to the end: program, photos and result."""
        photo = self.pixels * 2 * self.pixel_bytes
        return (
            self.result_bytes
            + photo
            + self.other_bytes
            + sum(map(reference_bytes, self.references))
        )

    @property
    def preparation_bytes(self) -> int:
        """Bytes at the peak before the work: finding the features of the largest reference."""
        looked_at = [detection_pixels(reference) for reference in self.references]
        kept = sum(map(reference_bytes, self.references)) + self.other_bytes
        return PROGRAM_BYTES + kept + FEATURE_BYTES * max(looked_at, default=0)


@dataclass(frozen=True)
class Budget:
    """How much is worked on at once, and the memory that it takes so."""

    flow_pixels: int  # LR pixels that are registered at once
    tile_pixels: int  # LR pixels that the network sees at once
    memory: int  # bytes, at the peak


@dataclass(frozen=True)
class Estimate:
    """What a job will take, for those who wait for it."""

    width: int  # pixels of the result
    height: int
    seconds: float
    memory: int  # bytes, at the peak, as counted
    result: int  # bytes that are still held when the result is written
    allowed: int  # bytes that it may take


@dataclass(frozen=True)
class Plan:
    """How a job is cut up, and what it takes so."""

    size: JobSize
    budget: Budget
    registration_share: float  # of the time, 0..1
    estimate: Estimate

    def tiles(self, multiple: int, part: Tile | None = None, tile_pixels: int = 0) -> list[Tile]:
        """The tiles of the photo, or of a part; smaller ones where ``tile_pixels`` are given.

        ``multiple``: LR pixels, of the network's grid, on which tiles begin.
        """
        pixels = tile_pixels or self.budget.tile_pixels
        return cut(self.size.height, self.size.width, TILE_HALO, multiple, pixels, part)


def make_plan(
    size: JobSize, network: TileNetwork | None, max_memory: int, timed: bool = False
) -> Plan:
    """Cut a job up so that it keeps to ``max_memory`` bytes, as far as that is possible.

    ``network`` None is the detail transfer. ``timed``: its speed is measured now. Raises PhotoError
    where the system has less memory free than the job takes.
    """
    bytes_per_pixel, seconds_per_pixel = cost(network, size.pixels, timed)
    if network is not None and not (size.references or network.model.self_reference):
        seconds_per_pixel *= ALONE
    budget = compute_budget(size, max_memory, bytes_per_pixel)
    registering = registration_seconds(size, budget.flow_pixels)
    tiles = cut(size.height, size.width, TILE_HALO, GRID, budget.tile_pixels)
    seconds = registering + sum(tile.pixels for tile in tiles) * seconds_per_pixel
    width, height = size.width * size.scale, size.height * size.scale
    estimate = Estimate(width, height, seconds, budget.memory, size.result_bytes, max_memory)
    check_free_memory(estimate)
    return Plan(size, budget, registering / max(seconds, 1e-9), estimate)


def cost(network: TileNetwork | None, pixels: int, timed: bool) -> tuple[float, float]:
    """Bytes and seconds that one LR pixel of a tile takes, for a photo of so many LR pixels.

    ``timed``: seconds are measured now. The bytes do not depend on it, nor hence the tiles.
    """
    if network is None:
        return TRANSFER_BYTES, TRANSFER_SECONDS
    if pixels >= PROBED_FROM:
        memory, seconds = network.probe()
        return memory, seconds * TILE_WORK
    if timed and pixels >= TIMED_FROM:
        network.pace(GRID)  # the first run of all is slower
        return DEFAULT_COST[0], network.pace(GRID) * TILE_WORK
    return DEFAULT_COST[0], DEFAULT_COST[1] * network.passes


def compute_budget(size: JobSize, max_memory: int, bytes_per_pixel: float) -> Budget:
    """What keeps a job to ``max_memory`` bytes, as far as that is possible.

    ``bytes_per_pixel``: what the network takes per LR pixel of a tile.
    """
    spare = max(0, max_memory - size.held_bytes)
    fields = FIELD_BYTES * len(size.references)
    flow_pixels = 0
    registering = 0
    if size.references:
        most = spare // (FLOW_BYTES + 2 * fields)
        flow_pixels = int(np.clip(most, MIN_FLOW, MAX_FLOW))
        seen = min(flow_pixels, size.pixels)
        shrink = (seen / size.pixels) ** 0.5
        enlarge = enlargement(round(size.height * shrink), round(size.width * shrink))
        features = round(FEATURE_BYTES * seen * enlarge**2)
        fields *= seen * (1 if seen == size.pixels else 2)  # of the whole, and of a block
        registering = max(FLOW_BYTES * seen, features)
    bytes_per_pixel += PICTURE_BYTES
    tile_pixels = int((spare - fields) // bytes_per_pixel)
    tile_pixels = int(np.clip(tile_pixels, MIN_TILE, MAX_TILE))
    tile = round(min(tile_pixels, 1.2 * size.pixels) * bytes_per_pixel)  # padded to the grid
    memory = max(size.held_bytes + fields + max(registering, tile), size.preparation_bytes)
    return Budget(flow_pixels, tile_pixels, memory)


def check_free_memory(estimate: Estimate) -> None:
    """Raises PhotoError where the system has less memory free than a job takes."""
    free = free_memory()
    if free is not None and estimate.memory - resident() > free:
        raise PhotoError(
            f"A result of {estimate.width} x {estimate.height} pixels takes "
            f"{in_words(estimate.memory)} of memory, but only {in_words(free)} are free; close "
            "other programs, choose a smaller scale or fewer references, or cut the photo up."
        )


def registration_seconds(size: JobSize, flow_pixels: int) -> float:
    """Seconds that registering all references of a job takes here, in about."""
    if not size.references:
        return 0.0
    seen = min(flow_pixels, size.pixels)
    flows = REGISTRATION_COST * seen
    if seen < size.pixels:
        side = flow_pixels**0.5
        flows += REFINEMENT_COST * size.pixels * (side / max(1, side - 2 * BLOCK_HALO)) ** 2
    enlarge = enlargement(size.height, size.width)
    features = 3 * FEATURE_SECONDS * seen * enlarge**2
    return len(size.references) * (FIELD_SCALE**2 * flows * flow_speed() + features)


def reference_bytes(reference: Reference) -> int:
    """What a prepared reference will hold, with a filtered copy that the work makes of it."""
    found = reference.features
    arrays = [*reference.levels, *reference.grays, *reference.valid_masks]
    arrays += [found.xy, found.size, found.angle, found.descriptor]
    filtered = max(reference.pixels.nbytes, reference.filtered.nbytes)
    return sum(array.nbytes for array in arrays) + filtered


def detection_pixels(reference: Reference) -> int:
    """Pixels of the image that a reference's features were found in."""
    height, width = reference.pixels.shape[:2]
    return round(height * width * min(1.0, WORKING_SIDE / max(height, width)) ** 2)


@lru_cache(maxsize=1)
def flow_speed() -> float:
    """Seconds that optical flow takes here per pixel, from one small image."""
    noise = np.random.default_rng(0).integers(0, 256, (PROBE, PROBE), np.uint8)
    image = np.asarray(cv2.GaussianBlur(noise, (0, 0), 2.0), np.uint8)
    started = time.perf_counter()
    flow.dis_flow(image, np.roll(image, 1, axis=1))
    return (time.perf_counter() - started) / PROBE**2
