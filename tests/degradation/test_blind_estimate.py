"""What is made of the network's outputs: the kernel comes back, and doubt means doing nothing."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import gaussian, sharpening
from refsr.degradation.blind_estimate import (
    FLOOR,
    GRID,
    BlindEstimate,
    believed_kernel,
    estimate_of,
    kernel_of,
    nothing_known,
    quality_of,
)
from refsr.degradation.kernel import RADIUS, Kernel, KernelEstimate

LITTLE = np.full(3, 0.1, np.float32)
NO_NOISE = np.array([np.log(0.8), 0.0, 0.1], np.float32)  # 0.3 levels, no JPEG, antialiased


def transfer(kernel: Kernel) -> Kernel:
    """The log of what a symmetric kernel lets pass (GRID, GRID), by its definition."""
    f = 2 * np.pi * np.fft.fftfreq(GRID)
    y, x = np.mgrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1]
    phase = f[:, None, None, None] * y + f[None, :, None, None] * x
    return 0.5 * np.log((kernel * np.cos(phase)).sum((2, 3)) ** 2 + FLOOR)


def estimated(log_transfer: Kernel, deviation: float, clean: float = 0.0) -> BlindEstimate:
    spread = np.full((GRID, GRID), deviation, np.float32)
    return estimate_of(log_transfer, spread, NO_NOISE, LITTLE, clean, None)


@pytest.mark.parametrize("kernel", [gaussian(0.5), gaussian(1.0), sharpening()])
def test_a_kernel_comes_back_from_what_it_lets_pass(kernel: Kernel) -> None:
    assert np.abs(kernel_of(transfer(kernel)) - kernel).max() < 0.02
    found = estimated(transfer(kernel), 0.01).kernel
    assert found is not None
    assert found.sum() == pytest.approx(1)
    assert np.abs(found - kernel).max() < 0.03


def test_the_less_sure_the_less_is_undone() -> None:
    centers: list[float] = []
    for deviation in (0.01, 0.2, 0.4):
        found = estimated(transfer(sharpening()), deviation).kernel
        centers.append(1.0 if found is None else float(found[RADIUS, RADIUS]))
    assert centers == sorted(centers, reverse=True)
    assert estimated(transfer(sharpening()), 2.0).kernel is None


def test_what_is_probably_clean_is_left_alone() -> None:
    assert estimated(transfer(sharpening()), 0.01, clean=0.9).kernel is None
    assert estimated(np.zeros((GRID, GRID)), 0.01).kernel is None
    assert nothing_known(None).kernel is None


def test_the_jpeg_quality_is_the_worse_of_the_files_and_the_seen_one() -> None:
    spread, seen = np.full((GRID, GRID), 0.1, np.float32), NO_NOISE.copy()
    seen[1] = np.log1p(60 / 20)  # libjpeg's tables at 60 %: quality 70

    def quality(of_file: int | None) -> int | None:
        return estimate_of(np.zeros((GRID, GRID)), spread, seen, LITTLE, 0.0, of_file).jpeg

    assert [quality(None), quality(95), quality(50)] == [70, 70, 50]
    assert nothing_known(88).jpeg == 88
    assert [quality_of(0.0), quality_of(50.0)] == [100, 1]


def test_words() -> None:
    scalars = np.array([np.log(5.5), np.log1p(3), 0.6], np.float32)
    spread = np.full((GRID, GRID), 0.01, np.float32)
    found = estimate_of(transfer(sharpening()), spread, scalars, LITTLE, 0.0, None)
    words = "sharpened; shrunk without antialiasing; JPEG 70; noise of about 5 levels"
    assert found.in_words() == words
    assert nothing_known(None).in_words() == ""


def seen(kernel: Kernel, deviation: float) -> BlindEstimate:
    """An estimate of exactly this kernel."""
    spread = np.full((GRID, GRID), deviation, np.float32)
    return estimate_of(transfer(kernel), spread, LITTLE, LITTLE, 0.0, None)


def test_a_pair_s_kernel_is_believed_as_far_as_the_photo_shows_blur() -> None:
    """Blurrier than the photo itself: cut down to it. Sharpened, agreed or in doubt: kept."""
    wide, narrow = gaussian(1.2), gaussian(0.5)
    np.testing.assert_allclose(believed_kernel(wide, seen(wide, 0.1)), wide, atol=0.01)
    limited = believed_kernel(wide, seen(narrow, 0.1))
    assert np.isclose(limited.sum(), 1)
    assert abs(limited[4, 4] - narrow[4, 4]) < 0.2 * (narrow[4, 4] - wide[4, 4])
    np.testing.assert_allclose(believed_kernel(wide, seen(narrow, 1.5)), wide, atol=1e-3)
    sharp = sharpening()
    np.testing.assert_allclose(believed_kernel(sharp, seen(narrow, 0.1)), sharp, atol=0.02)
    nothing = nothing_known(None)
    np.testing.assert_allclose(believed_kernel(wide, nothing), wide, atol=1e-6)


def test_noise_in_the_reference_makes_no_photo_blurred() -> None:
    """It widens the kernel of any pair; a photo that is crisp by itself keeps what it has."""
    crisp = seen(gaussian(0.01), 0.1)
    estimate = KernelEstimate(believed_kernel(gaussian(0.8), crisp), 0.5, 20_000)
    assert not estimate.is_evident
    assert KernelEstimate(gaussian(0.8), 0.5, 20_000).is_evident
