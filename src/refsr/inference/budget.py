"""What a job will take: memory, counted in arrays, and time, measured on a small piece.

Memory is counted rather than read from the system, so that the same photo is always cut into the
same tiles. The constants were measured (docs/DECISIONS.md, "Any size").
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from refsr.registration import flow
from refsr.registration.geometry import enlargement
from refsr.registration.large_image import FLOW_BYTES
from refsr.registration.large_image import HALO as BLOCK_HALO
from refsr.registration.reference import WORKING_SIDE, Reference
from refsr.registration.warp import FIELD_SCALE

PROGRAM = 200_000_000  # Python, OpenCV, the runtime and a model, in bytes
FEATURE_BYTES = 235  # of SIFT, per pixel of the image that it looks at
FIELD_BYTES = 20 * FIELD_SCALE**2  # of a registration, per LR pixel
LR_BYTES = 48  # maps of the result, per LR pixel
MOST_FLOW = 750_000  # LR pixels; larger photos are registered shrunk, then block by block
LEAST_FLOW = 100_000
PICTURE_BYTES = 1_600  # of a tile beside the network, per LR pixel: some eight pictures of its size
LEAST_TILE = 9_216  # LR pixels: one cell of the grid with its halo
MOST_TILE = 150_000  # larger tiles are no quicker
REGISTERED_SECONDS, REFINED_SECONDS = 9.0, 5.0  # times the bare flow's, per pixel of it
FEATURE_SECONDS = 3e-6  # of SIFT, per pixel; a reference has 2 MP at most
PROBE = 192  # pixels a side of the image that the flow's speed is measured with


@dataclass(frozen=True)
class JobSize:
    """The sizes that decide what a job takes."""

    height: int  # LR pixels
    width: int
    pixel_bytes: int  # of the result's pixels with their alpha, per pixel
    scale: int
    references: tuple[Reference, ...]
    others: int = 0  # bytes of what else is kept: references in other colors

    @property
    def pixels(self) -> int:
        """LR pixels."""
        return self.height * self.width

    @property
    def result(self) -> int:
        """Bytes of the program and the result."""
        return PROGRAM + self.pixels * (self.scale**2 * self.pixel_bytes + LR_BYTES)

    @property
    def held(self) -> int:
        """Bytes that are there from the beginning to the end: program, photos and result."""
        photo = self.pixels * 2 * self.pixel_bytes
        return self.result + photo + self.others + sum(map(bytes_of, self.references))

    @property
    def prepared(self) -> int:
        """Bytes at the peak before the work: finding the features of the largest reference."""
        looked_at = [looked_at_in(reference) for reference in self.references]
        kept = sum(map(bytes_of, self.references)) + self.others
        return PROGRAM + kept + FEATURE_BYTES * max(looked_at, default=0)


@dataclass(frozen=True)
class Budget:
    """How a job is cut up, and the memory that it takes so."""

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


def budget_of(job: JobSize, max_memory: int, bytes_per_pixel: float) -> Budget:
    """Cut a job up so that it keeps to ``max_memory`` bytes, as far as that is possible.

    ``bytes_per_pixel``: what the network takes per LR pixel of a tile.
    """
    spare = max(0, max_memory - job.held)
    fields = FIELD_BYTES * len(job.references)
    flow_pixels = 0
    registering = 0
    if job.references:
        most = spare // (FLOW_BYTES + 2 * fields)
        flow_pixels = int(np.clip(most, LEAST_FLOW, MOST_FLOW))
        seen = min(flow_pixels, job.pixels)
        shrink = (seen / job.pixels) ** 0.5
        enlarge = enlargement(round(job.height * shrink), round(job.width * shrink))
        features = round(FEATURE_BYTES * seen * enlarge**2)
        fields *= seen * (1 if seen == job.pixels else 2)  # of the whole, and of a block
        registering = max(FLOW_BYTES * seen, features)
    bytes_per_pixel += PICTURE_BYTES
    tile_pixels = int((spare - fields) // bytes_per_pixel)
    tile_pixels = int(np.clip(tile_pixels, LEAST_TILE, MOST_TILE))
    tile = round(min(tile_pixels, 1.2 * job.pixels) * bytes_per_pixel)  # padded to the grid
    memory = max(job.held + fields + max(registering, tile), job.prepared)
    return Budget(flow_pixels, tile_pixels, memory)


def registration_seconds(job: JobSize, budget: Budget) -> float:
    """Seconds that registering all references of a job takes here, in about."""
    if not job.references:
        return 0.0
    seen = min(budget.flow_pixels, job.pixels)
    flow_pixels = REGISTERED_SECONDS * seen
    if seen < job.pixels:
        side = budget.flow_pixels**0.5
        flow_pixels += REFINED_SECONDS * job.pixels * (side / max(1, side - 2 * BLOCK_HALO)) ** 2
    enlarge = enlargement(job.height, job.width)
    features = 3 * FEATURE_SECONDS * seen * enlarge**2
    return len(job.references) * (FIELD_SCALE**2 * flow_pixels * flow_speed() + features)


def bytes_of(reference: Reference) -> int:
    """What a prepared reference will hold, with a filtered copy that the work makes of it."""
    found = reference.features
    arrays = [*reference.levels, *reference.grays, *reference.valid_masks]
    arrays += [found.xy, found.size, found.angle, found.descriptor]
    filtered = max(reference.pixels.nbytes, reference.filtered.nbytes)
    return sum(array.nbytes for array in arrays) + filtered


def looked_at_in(reference: Reference) -> int:
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
