"""What must hold for any pair: a changed pair gives the result changed in the same way.

Tolerances are in 8-bit levels and were measured (docs/RELIABILITY.md). The detail transfer differs
only by what SIFT and optical flow see differently; the network was trained on turned and mirrored
patches but is not exactly equivariant.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from refsr.arrays import Pixels
from refsr.resize import imresize
from refsr.upscaler import Result, Upscaler
from scenes import facade, seen_through

Change = Callable[[Pixels], Pixels]
MODELS = {"detail-transfer": 0.5, "ssen": 2.0}  # the most that a result may differ, in the mean
VIEW = np.array([[1.02, 0.03, -4], [-0.02, 0.99, 5], [2e-5, 0, 1]])

TURNS: dict[str, tuple[Change, Change]] = {
    "a quarter turn": (np.rot90, lambda a: np.rot90(a, -1)),
    "a half turn": (lambda a: np.rot90(a, 2), lambda a: np.rot90(a, 2)),
    "mirrored": (lambda a: a[:, ::-1], lambda a: a[:, ::-1]),
    "transposed": (lambda a: np.swapaxes(a, 0, 1), lambda a: np.swapaxes(a, 0, 1)),
}


@lru_cache
def pair() -> tuple[Pixels, Pixels]:
    """A small photo (64, 72) and its reference (256, 288), another view."""
    hr = np.ascontiguousarray(facade(3, 16, 12)[40:296, 60:348])
    return imresize(hr, scale=0.25), seen_through(hr, VIEW, (288, 256))


@lru_cache
def road(model: str) -> Upscaler:
    return Upscaler.load(model, threads=1)


def result(model: str, photo: Pixels, *references: Pixels) -> Result:
    upscaler = road(model)
    upscaler.set_reference([np.ascontiguousarray(one) for one in references])
    return upscaler.upscale(np.ascontiguousarray(photo))


@lru_cache
def plain(model: str, referenced: bool = True) -> NDArray[np.int32]:
    photo, reference = pair()
    done = result(model, photo, reference) if referenced else result(model, photo)
    return np.asarray(done.image).astype(np.int32)


def away(image: Any, wanted: NDArray[np.int32]) -> NDArray[np.int32]:
    """How far every value lies from the one wanted."""
    return np.abs(np.asarray(image).astype(np.int32) - wanted)


def test_the_reference_matters_here() -> None:
    """Else the tests below would hold for a road that ignores it."""
    for model in MODELS:
        assert away(plain(model), plain(model, False)).mean() > 5


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("how", TURNS)
def test_turned_and_mirrored(model: str, how: str) -> None:
    change, undo = TURNS[how]
    photo, reference = pair()
    off = away(
        undo(np.asarray(result(model, change(photo), change(reference)).image)), plain(model)
    )
    assert off.mean() < MODELS[model]
    assert np.percentile(off, 99) <= (4 if model == "detail-transfer" else 10)


@pytest.mark.parametrize("model", MODELS)
def test_padded(model: str) -> None:
    """More of the scene around it, on the network's grid, changes nothing inside."""
    photo, reference = pair()
    wide = np.pad(photo, ((32, 32), (32, 32), (0, 0)), "edge")
    inside = np.asarray(result(model, wide, reference).image)[128:-128, 128:-128]
    off = away(inside, plain(model))[64:-64, 64:-64]
    assert off.mean() < 0.5
    assert off.max() <= 8


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("how", ["channels swapped", "dimmed"])
def test_recolored(model: str, how: str) -> None:
    def swapped(image: Any) -> Any:
        return image[..., ::-1]

    def dimmed(image: Any) -> Any:
        return np.rint(image * 0.8 + 20).astype(np.asarray(image).dtype)

    change = swapped if how == "channels swapped" else dimmed
    photo, reference = pair()
    off = away(result(model, change(photo), change(reference)).image, change(plain(model)))
    assert off.mean() < 1.5
    assert np.percentile(off, 99) <= 8


@pytest.mark.parametrize("model", MODELS)
def test_the_order_of_references_does_not_matter(model: str) -> None:
    photo, reference = pair()
    parts = reference[:, :150], reference[:, 120:], facade(9)[:200, :200]
    first = np.asarray(result(model, photo, *parts).image).astype(np.int32)
    assert away(result(model, photo, *parts[::-1]).image, first).max() <= 1


@pytest.mark.parametrize("model", MODELS)
def test_where_nothing_is_borrowed_the_reference_has_no_say(model: str) -> None:
    """The report's map is true: beyond a tile's halo of what it shows, the result is the plain."""
    photo, reference = pair()
    done = result(model, photo, reference[:, :150])
    borrowed = np.flatnonzero((done.provenance > 0).any(axis=0)).max()
    reach = borrowed + 17  # LR pixels that the network carries what it was given
    assert photo.shape[1] - reach > 8
    off = away(done.image, plain(model, False))
    assert off[:, 4 * reach :].max() <= 1
    assert off[:, : 4 * reach].mean() > 5


def test_a_pixels_influence_stays_near() -> None:
    """One LR pixel changes the plain result by more than a level only within the halo."""
    photo, _ = pair()
    other = photo.copy()
    other[32, 10] = 255 - other[32, 10]
    for model, reach in (("detail-transfer", 4), ("ssen", 16)):
        off = away(result(model, other).image, plain(model, False)).max(axis=(0, 2))
        assert off[40] > 10
        assert np.flatnonzero(off > 1).max() <= 4 * (10 + reach)
