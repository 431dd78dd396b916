"""A prepared reference may be shared by threads, pickled and copied."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from refsr.inference.plan import reference_bytes
from refsr.registration.reference import MAX_COPIES, prepare_reference, softened

ZOOMS = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 2.2]  # more than are cached at once


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("frequent_switches")
def test_threads_share_the_prefiltered_copies(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
    expected = {zoom: prepare_reference(pixels).prefiltered(zoom) for zoom in ZOOMS}
    shared = prepare_reference(pixels)
    errors: list[Exception] = []
    stop = threading.Event()

    def until_stopped(work: str) -> None:
        try:
            while not stop.is_set():
                if work == "count":
                    assert reference_bytes(shared) >= 2 * pixels.nbytes
                elif work == "clear":
                    shared.filtered.clear()
                else:
                    for zoom in ZOOMS:
                        found, level = shared.prefiltered(zoom)
                        assert level == expected[zoom][1]
                        assert found.tobytes() == expected[zoom][0].tobytes()
                        assert len(shared.filtered) <= MAX_COPIES
        except Exception as error:
            errors.append(error)

    works = ["count", "count", "filter", "filter", "clear"]
    threads = [threading.Thread(target=until_stopped, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    stop.wait(1.5)
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors


def test_a_reference_is_pickled_and_copied_without_its_copies(natural: NDArray[np.uint8]) -> None:
    reference = prepare_reference(natural)
    found, level = reference.prefiltered(1.2)
    for again in (copy.deepcopy(reference), pickle.loads(pickle.dumps(reference))):
        assert len(again.filtered) == 0
        assert again.prefiltered(1.2)[1] == level
        np.testing.assert_array_equal(again.prefiltered(1.2)[0], found)
        assert len(again.filtered) == len(reference.filtered) == 1


def test_softening_undoes_a_sharpening(natural: NDArray[np.uint8]) -> None:
    plain = natural.astype(np.float32)
    added = 0.4  # of the detail: the sharpened photo has 1.4 times as much
    fine = plain - cv2.GaussianBlur(plain, (0, 0), 3.0)
    sharpened = np.clip(plain + added * fine, 0, 255).astype(np.uint8)
    reference = prepare_reference(sharpened)
    found = softened(reference, 1 - 1 / (1 + added), 3.0)
    assert np.abs(found.pixels - plain).mean() < 0.35 * np.abs(sharpened - plain).mean()
    assert [level.shape for level in found.levels] == [level.shape for level in reference.levels]
    assert found.levels[0] is found.pixels
    assert found.features is reference.features
