"""The labels that the blind network learns from are what was done to the photo."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import skimage.data

from refsr.degradation.blind_estimate import kernel_of, quality_of
from refsr.degradation.kernel import solve
from refsr.degradation.simulate import sharpen, shrink
from refsr.registration.flow import luma
from refsr.registration.misfit import high_pass


@pytest.fixture(scope="module")
def training(scripts: Callable[[str], ModuleType]) -> ModuleType:
    return scripts("train_blind")


def test_the_label_of_sharpening_is_what_least_squares_finds(training: ModuleType) -> None:
    """Drawn in every step, it is computed and not measured."""
    clean = shrink(np.ascontiguousarray(skimage.data.astronaut()))
    source, detail = high_pass(luma(clean)), high_pass(luma(sharpen(clean, 0.8)))
    inside = np.zeros_like(source)
    inside[4:-4, 4:-4] = 1
    found = solve(detail, source, inside)
    assert found is not None
    delta = np.zeros((9, 9))
    delta[4, 4] = 1
    label = training.with_sharpening(training.log_transfer(delta), 0.8)
    assert np.abs(kernel_of(label) - found).max() < 0.06


@pytest.mark.parametrize("quality", [30, 50, 75, 95])
def test_compression_is_the_quality_and_back(training: ModuleType, quality: int) -> None:
    assert quality_of(training.compression_of(quality)) == quality


def test_a_bank_entry_knows_its_blur(training: ModuleType, rng: np.random.Generator) -> None:
    """Clean entries let nearly everything pass, and every entry the mean."""
    hr = np.ascontiguousarray(skimage.data.astronaut()[:320, :320])
    entries = [entry for _ in range(12) if (entry := training.bank_entry(rng, hr)) is not None]
    clean = [np.abs(transfer).max() for _, transfer, _, is_clean in entries if is_clean]
    other = [np.abs(transfer).max() for _, transfer, _, is_clean in entries if not is_clean]
    assert clean
    assert max(clean) < 0.6 < max(other)
    assert all(abs(transfer[0, 0]) < 0.02 for _, transfer, _, _ in entries)


@pytest.fixture(scope="module")
def pages(training: ModuleType) -> ModuleType:
    return sys.modules["rendered_pages"]


def test_a_page_has_ink_and_its_seed_alone_decides(pages: ModuleType) -> None:
    fonts = pages.font_names()
    for seed in range(12):
        first, again = (
            pages.render_page(np.random.default_rng(seed), 200, 160, fonts) for _ in range(2)
        )
        assert first.shape == (160, 200, 3)
        assert first.dtype == np.uint8
        assert np.array_equal(first, again)
        assert (high_pass(luma(shrink(first))) ** 2).mean() > 4


def test_fonts_kept_out_train_nothing(pages: ModuleType) -> None:
    if not pages.FONTS.is_dir():
        pytest.skip("DejaVu is not installed here")
    training, kept_out = pages.font_names(), pages.font_names(kept_out=True)
    assert len(training) > 1
    assert len(kept_out) > 1
    assert not {*training} & {*kept_out}
