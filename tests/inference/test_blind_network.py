"""The blind network on photos that it was not trained on (scikit-image's): known damage is seen."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from pages import Page
from refsr.arrays import Pixels
from refsr.degradation.blind_estimate import BlindEstimate
from refsr.degradation.simulate import parse_kind, shrink, simulate, to_levels
from refsr.errors import ModelError
from refsr.image.photo import Photo, load_photo
from refsr.inference.blind_network import (
    FILE,
    TILE,
    TILES,
    BlindNetwork,
    choose_crops,
    estimate_blindly,
)

SCENES = ("astronaut", "chelsea", "coffee", "rocket")


@lru_cache
def small(scene: str, kind: str) -> Pixels:
    """A simulated small photo; of JPEG kinds the pixels alone."""
    hr: Pixels = getattr(skimage.data, scene)()
    height, width = (side // 4 * 4 for side in hr.shape[:2])
    hr = np.ascontiguousarray(hr[:height, :width])
    return load_photo(simulate(hr, parse_kind(kind))).as_uint8()


def estimates(kind: str) -> list[BlindEstimate]:
    return [estimate_blindly(Photo.of(small(scene, kind))) for scene in SCENES]


def center(estimate: BlindEstimate) -> float:
    return 1.0 if estimate.kernel is None else float(estimate.kernel[4, 4])


def test_file_and_card_belong_together() -> None:
    card = json.loads(FILE.with_suffix(".json").read_text())
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == card["sha256"]
    assert FILE.with_suffix(".md").is_file()
    assert FILE.stat().st_size < 600_000


@pytest.mark.parametrize("kind", ["matlab", "area", "lanczos"])
def test_a_clean_photo_is_left_alone(kind: str) -> None:
    found = estimates(kind)
    assert [estimate.kernel for estimate in found] == [None] * len(SCENES)
    assert max(estimate.noise for estimate in found) < 2.5


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [12, 20, 30])
def test_a_clean_page_is_left_alone(size: int, dark: bool) -> None:
    """Its letters are as crisp as a sharpened photo's."""
    page = Page(size, 0.0, seed=size, dark=dark).draw()
    found = estimate_blindly(Photo.of(to_levels(shrink(page))))
    assert found.in_words() == ""
    assert not found.is_unlike_matlab


@pytest.mark.parametrize(
    ("kind", "true", "tolerance"),  # true: the center tap by MATLAB's small photo, measured
    [("blur:2", 0.52, 0.15), ("blur:3", 0.29, 0.12), ("blur:4", 0.18, 0.1)],
)
def test_a_known_blur_is_recovered(kind: str, true: float, tolerance: float) -> None:
    for found in estimates(kind):
        assert center(found) == pytest.approx(true, abs=tolerance)


def test_sharpening_is_seen_where_it_cannot_be_the_scenes_own() -> None:
    """A soft scene, sharpened, looks like a crisp one: nothing is done then."""
    centers = [center(found) for found in estimates("sharpened")]
    assert 1.25 < centers[0] < 1.8  # true: 1.63
    assert min(centers) >= 1


def test_motion_is_seen_along_its_direction() -> None:
    """Before doubt: a strong motion is not undone."""
    for kind, axis in (("motion:8,0", 1), ("motion:8,90", 0)):
        passed = [found.log_transfer for found in estimates(kind)]
        lost_along = [-np.take(one, 5, axis=axis)[0] for one in passed]
        lost_across = [-np.take(one, 5, axis=1 - axis)[0] for one in passed]
        longer = sum(a > b for a, b in zip(lost_along, lost_across, strict=True))
        assert longer >= 3
    assert all(found.kernel is None for found in estimates("motion:16,0"))


def test_noise_and_compression_are_measured() -> None:
    clean, noisy = ([found.noise for found in estimates(kind)] for kind in ("matlab", "noise:10"))
    assert np.mean(noisy) == pytest.approx(6.7, rel=0.3)  # 10 levels in R, G and B; of luma 6.7
    assert min(noisy) > max(clean)
    for quality in (50, 75):
        seen = [found.jpeg for found in estimates(f"jpeg:{quality}")]
        assert None not in seen
        assert np.mean([value or 0 for value in seen]) == pytest.approx(quality, abs=12)
    assert [found.jpeg for found in estimates("matlab")] == [None] * len(SCENES)


def test_a_photo_shrunk_without_antialiasing_is_told_from_a_clean_one() -> None:
    aliased = [found.aliasing for found in estimates("linear")]
    clean = [found.aliasing for found in estimates("matlab")]
    assert np.mean(aliased) > np.mean(clean) + 0.15
    assert not any(found.is_aliased for found in estimates("matlab"))


def test_the_same_photo_gives_the_same_bits() -> None:
    pixels = small("astronaut", "blur:2")
    first = estimate_blindly(Photo.of(pixels))
    for again in (estimate_blindly(Photo.of(pixels)), BlindNetwork().estimate(Photo.of(pixels))):
        assert np.array_equal(first.kernel, again.kernel)  # pyright: ignore
        assert first.noise == again.noise


def test_16_bits_give_what_8_bits_give() -> None:
    pixels = small("astronaut", "sharpened")
    deep = estimate_blindly(Photo.of(pixels.astype(np.uint16) * 257))
    assert np.array_equal(deep.kernel, estimate_blindly(Photo.of(pixels)).kernel)  # pyright: ignore


@pytest.mark.parametrize("kind", ["matlab", "blur:3"])
def test_a_gray_photo_is_judged_like_a_colored_one(kind: str) -> None:
    gray = np.rint(small("astronaut", kind) @ [0.299, 0.587, 0.114]).astype(np.uint8)
    found, colored = estimate_blindly(Photo.of(gray)), estimates(kind)[0]
    assert center(found) == pytest.approx(center(colored), abs=0.15)


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (8, 4000), (32, 33), (33, 9000), (97, 1700)])
def test_any_size(shape: tuple[int, int], rng: np.random.Generator) -> None:
    for height, width in (shape, shape[::-1]):
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        found = estimate_blindly(Photo.of(pixels))
        assert np.isfinite([found.noise, found.aliasing, found.clean]).all()
        if min(shape) < 32:
            assert found.kernel is None


def test_a_flat_photo_shows_nothing() -> None:
    flat = Photo.of(np.full((200, 300, 3), 90, np.uint8))
    assert estimate_blindly(flat).in_words() == ""


def test_of_a_large_photo_the_parts_with_most_detail_are_looked_at() -> None:
    pixels = np.full((10 * TILE, 12 * TILE, 3), 90, np.uint8)
    part = small("astronaut", "blur:2")[:TILE, :TILE]
    for index in range(TILES):
        row, column = divmod(7 * index, 12)
        pixels[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE] = part
    crops, _ = choose_crops(pixels)
    assert crops.shape == (TILES, 3, TILE, TILE)
    assert all(np.array_equal(crop, crops[0]) for crop in crops)
    assert center(estimate_blindly(Photo.of(pixels))) == pytest.approx(
        center(estimate_blindly(Photo.of(part))), abs=0.05
    )


def test_a_damaged_file_is_an_error_of_refsrs(tmp_path: Path) -> None:
    (tmp_path / "blind.onnx").write_bytes(FILE.read_bytes()[:1000])
    for name in ("blind.onnx", "none.onnx"):
        with pytest.raises(ModelError):
            BlindNetwork(tmp_path / name)


@pytest.mark.linux
def test_memory_does_not_grow_with_the_photo() -> None:
    """Beside the photo itself: 12 megapixels take hardly more than a quarter of one."""
    code = """
import sys
import numpy as np
from refsr.evaluate.paper.time import peak_memory
from refsr.image.photo import Photo
from refsr.inference.blind_network import estimate_blindly
side = int(sys.argv[1])
photo = Photo.of(np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8))
before = peak_memory()
estimate_blindly(photo)
print(peak_memory() - before)
"""

    def grown(side: int) -> int:
        command = [sys.executable, "-c", code, str(side)]
        return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    assert grown(3500) - grown(500) < 40 << 20
