"""Combinations of networks: the crisp look, and the geometric self-ensemble.

Each has the interface of one ``Network``, and they nest.
"""

from __future__ import annotations

from typing import Literal, Protocol

import cv2
import numpy as np

from refsr.arrays import Image
from refsr.weights.models import Model

Mode = Literal["true", "crisp"]
SUPPORT_SIGMA = 6.0  # HR pixels: sigma over which the gate speaks for its surroundings
FULL_SUPPORT = 0.5  # the gate, so averaged, from which on the crisp result is taken whole
# Those of one shape beside each other: a change of shape costs OpenVINO its buffers.
VIEWS = tuple((turns, mirrored) for turns in (0, 2, 1, 3) for mirrored in (False, True))


class TileNetwork(Protocol):
    """What upscales a tile: ``refsr.inference.network.Network``, or one of the classes below."""

    model: Model
    notes: list[str]  # what a reader should know of how it was loaded

    @property
    def provider(self) -> str:
        """What runs the model, in words for the report."""
        ...

    @property
    def program_bytes(self) -> int:
        """Memory that is taken beside the tiles, more than ONNX Runtime takes."""
        ...

    @property
    def passes(self) -> int:
        """How many times a network computes for one tile."""
        ...

    def probe(self) -> tuple[float, float]:
        """Bytes of memory and seconds that one LR pixel takes here."""
        ...

    def pace(self, side: int) -> float:
        """Seconds per LR pixel of a tile of ``side`` x ``side`` LR pixels, measured now."""
        ...

    def run(
        self,
        lr: Image,
        ref: Image,
        validity: Image,
        release: bool = False,
        condition: Image | None = None,
    ) -> tuple[Image, Image]:
        """SR and gate of a tile; see ``refsr.inference.network.Network.run``."""
        ...


class Crisp:
    """The crisp look: an adversarially trained network's result where the reference supports it.

    Such a network draws what is likely. Where the other network's gate is open, HR detail of the
    reference is at hand, and what it draws is that; elsewhere it would invent, and the true result
    stays. Without a reference nothing is supported, and the result is the true one, exactly.
    """

    def __init__(self, true: TileNetwork, crisp: TileNetwork) -> None:
        self.true, self.crisp = true, crisp
        self.model, self.provider = true.model, true.provider
        self.program_bytes = true.program_bytes  # the same runtime: it is there once
        self.passes = true.passes + crisp.passes
        self.notes = [*true.notes, *crisp.notes]

    def probe(self) -> tuple[float, float]:
        """As of ``Network.probe``; one after the other."""
        (memory, seconds), (more, longer) = self.true.probe(), self.crisp.probe()
        return max(memory, more), seconds + longer

    def pace(self, side: int) -> float:
        """As of ``Network.pace``; one after the other."""
        return self.true.pace(side) + self.crisp.pace(side)

    def run(
        self,
        lr: Image,
        ref: Image,
        validity: Image,
        release: bool = False,
        condition: Image | None = None,
    ) -> tuple[Image, Image]:
        """SR (4h, 4w, 3) and gate (4h, 4w); arguments as for ``Network.run``."""
        if not validity.any():
            return self.true.run(lr, ref, validity, release, condition)
        true, gate = self.true.run(lr, ref, validity, True, condition)
        crisp, other = self.crisp.run(lr, ref, validity, release, condition)
        around = np.asarray(cv2.GaussianBlur(gate, (0, 0), SUPPORT_SIGMA), np.float32)
        support = np.minimum(around / np.float32(FULL_SUPPORT), np.float32(1))
        sr = np.asarray(true + support[..., None] * (crisp - true), np.float32)
        return sr, np.asarray(gate + support * (other - gate), np.float32)


class Ensemble:
    """Geometric self-ensemble: the mean of the eight turned and mirrored results (EDSR's "+")."""

    def __init__(self, network: TileNetwork) -> None:
        self.network, self.model, self.provider = network, network.model, network.provider
        self.passes, self.notes = len(VIEWS) * network.passes, network.notes
        self.program_bytes = network.program_bytes

    def probe(self) -> tuple[float, float]:
        """As of ``Network.probe``: one view's memory, the time of all."""
        memory, seconds = self.network.probe()
        return memory, seconds * len(VIEWS)

    def pace(self, side: int) -> float:
        """As of ``Network.pace``; of all views."""
        return self.network.pace(side) * len(VIEWS)

    def run(
        self,
        lr: Image,
        ref: Image,
        validity: Image,
        release: bool = False,
        condition: Image | None = None,
    ) -> tuple[Image, Image]:
        """SR (4h, 4w, 3) and gate (4h, 4w); arguments as for ``Network.run``."""
        sr, gate = np.zeros_like(ref), np.zeros_like(validity)
        for view in VIEWS:
            seen = [rotate_flip(image, *view) for image in (lr, ref, validity)]
            last = release and view == VIEWS[-1]
            found = self.network.run(seen[0], seen[1], seen[2], last, condition)
            sr += undo_rotate_flip(found[0], *view)
            gate += undo_rotate_flip(found[1], *view)
        sr /= len(VIEWS)
        gate /= len(VIEWS)
        return sr, gate


def rotate_flip(image: Image, turns: int, mirrored: bool) -> Image:
    """An image (H, W[, C]) mirrored, then turned by as many quarters."""
    return np.rot90(image[:, ::-1] if mirrored else image, turns)


def undo_rotate_flip(image: Image, turns: int, mirrored: bool) -> Image:
    """What ``rotate_flip`` did, undone."""
    image = np.rot90(image, -turns)
    return image[:, ::-1] if mirrored else image
