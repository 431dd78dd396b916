"""The crisp look and the self-ensemble, with networks whose answers are known."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from refsr import RefsrError, Upscaler
from refsr.arrays import Image
from refsr.inference.ensemble import SUPPORT_SIGMA, VIEWS, Crisp, Ensemble, rotate_flip
from refsr.resize import imresize
from refsr.weights.models import Model

MODEL = Model("known", Path("known.onnx"), 8, {})


@dataclass
class Known:
    """Bicubic plus a level; a gate that is open on the left half. Its calls are counted."""

    level: float
    slope: float = 0.0  # makes the answer depend on the direction
    model: Model = MODEL
    provider: str = "known"
    program_bytes: int = 0
    passes: int = 1
    notes: list[str] = field(default_factory=list)
    released: list[bool] = field(default_factory=list)
    told: list[Image | None] = field(default_factory=list)

    def probe(self) -> tuple[float, float]:
        return 1000.0 + self.level, 2.0

    def run(
        self,
        lr: Image,
        ref: Image,
        validity: Image,
        release: bool = False,
        condition: Image | None = None,
    ) -> tuple[Image, Image]:
        self.released.append(release)
        self.told.append(condition)
        sr = imresize(lr, scale=4.0) + np.float32(self.level)
        sr += self.slope * np.arange(sr.shape[1], dtype=np.float32)[:, None]
        gate = validity.copy()
        gate[:, gate.shape[1] // 2 :] = 0
        return sr, gate


@pytest.fixture
def tile(rng: np.random.Generator) -> tuple[Image, Image, Image]:
    """A tile with a valid reference."""
    lr = rng.random((24, 32, 3), np.float32)
    return lr, rng.random((96, 128, 3), np.float32), np.ones((96, 128), np.float32)


def test_crisp_is_taken_where_the_gate_is_open_and_nowhere_else(
    tile: tuple[Image, Image, Image],
) -> None:
    true, crisp = Known(0.0), Known(1.0)
    sr, gate = Crisp(true, crisp).run(*tile, release=True)
    taken = sr - true.run(*tile)[0]
    middle, reach = 64, int(4 * SUPPORT_SIGMA)
    assert np.allclose(taken[:, : middle - reach], 1.0, atol=1e-5)
    assert np.abs(taken[:, middle + reach :]).max() < 1e-5
    assert (np.diff(taken[48, :, 0]) < 1e-5).all()  # falls once, without a step
    assert np.abs(np.diff(taken[48, :, 0])).max() < 0.2
    assert gate.shape == (96, 128)
    assert true.released[0]  # or the memory of both would be held at once
    assert crisp.released == [True]


def test_what_is_told_reaches_every_network(tile: tuple[Image, Image, Image]) -> None:
    true, crisp = Known(0.0), Known(1.0)
    condition = np.ones(5, np.float32)
    Ensemble(Crisp(true, crisp)).run(*tile, condition=condition)
    assert len(true.told) == len(crisp.told) == 8
    assert all(told is condition for told in true.told + crisp.told)


def test_without_a_reference_crisp_is_true_and_costs_nothing(
    tile: tuple[Image, Image, Image],
) -> None:
    true, crisp = Known(0.0), Known(1.0)
    lr, ref, validity = tile
    sr, _ = Crisp(true, crisp).run(lr, ref, 0 * validity)
    assert np.array_equal(sr, true.run(lr, ref, 0 * validity)[0])
    assert crisp.released == []


def test_an_ensemble_has_no_direction(tile: tuple[Image, Image, Image]) -> None:
    """The network's answer leans to the right; the mean of the views does not."""
    network = Known(0.5, slope=0.01)
    ensemble = Ensemble(network)
    sr, gate = ensemble.run(*tile, release=True)
    assert network.released == [False] * 7 + [True]
    for view in VIEWS:
        other, other_gate = ensemble.run(*(rotate_flip(image, *view) for image in tile))
        assert np.allclose(other, rotate_flip(sr, *view), atol=1e-5)
        assert np.allclose(other_gate, rotate_flip(gate, *view), atol=1e-6)
    plain = Ensemble(Known(0.5)).run(*tile)[0]
    assert np.allclose(plain, Known(0.5).run(*tile)[0], atol=1e-5)


def test_what_they_cost_is_foreseen() -> None:
    both = Ensemble(Crisp(Known(0.0), Known(1.0)))
    assert both.passes == 16
    assert both.probe() == (1001.0, 32.0)


@pytest.mark.parametrize(
    ("model", "look", "words"),
    [
        ("ssen", "sharp", "look must be one of true, crisp, not 'sharp'"),
        ("ssen-robust", "crisp", "has no other look"),
    ],
)
def test_looks_that_do_not_exist_are_said(model: str, look: str, words: str) -> None:
    with pytest.raises(RefsrError, match=words):
        Upscaler.load(model, look=look)  # type: ignore[arg-type]
