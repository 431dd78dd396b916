"""An Upscaler inside another program: threads, kinds of input, cancellation."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from refsr import Cancelled, RefsrError, Upscaler
from scenes import facade


def views(count: int) -> list[np.ndarray]:
    """Different photos of one facade, of different sizes."""
    hr = facade(5)
    parts = [hr[8 * i : 8 * i + 256, 16 * i : 16 * i + 256 + 32 * (i % 3)] for i in range(count)]
    return [
        np.asarray(PIL.Image.fromarray(p).resize((p.shape[1] // 4, p.shape[0] // 4))) for p in parts
    ]


@pytest.mark.slow
def test_four_threads_give_what_one_gives_bit_by_bit() -> None:
    upscaler = Upscaler.load(threads=1)
    upscaler.set_reference(facade(5))
    photos = views(6)
    photos[1] = np.repeat(photos[1].mean(-1).astype(np.uint8)[..., None], 3, -1)
    serial = [upscaler.upscale(photo) for photo in photos]
    with ThreadPoolExecutor(max_workers=4) as pool:
        together = list(pool.map(upscaler.upscale, photos * 2))
    for one, other in zip(serial * 2, together, strict=True):
        assert one.report["references"][0]["used"]
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.amounts, other.amounts)


def test_the_result_is_of_the_kind_of_the_input(tmp_path: Path) -> None:
    upscaler = Upscaler.load("detail-transfer")
    image = PIL.Image.fromarray(views(1)[0])
    image.save(tmp_path / "photo.png")
    with io.BytesIO() as file:
        image.save(file, "png")
        data = file.getvalue()
    sources = [tmp_path / "photo.png", str(tmp_path / "photo.png"), data, np.asarray(image), image]
    results = [upscaler.upscale(source).image for source in sources]
    assert [isinstance(one, PIL.Image.Image) for one in results] == [False] * 4 + [True]
    for one in results:
        np.testing.assert_array_equal(np.asarray(one), results[0])
    deep = upscaler.upscale(np.asarray(image).astype(np.uint16) * 257).image
    assert isinstance(deep, np.ndarray)
    assert deep.dtype == np.uint16


def test_cancelled_ends_the_job_and_the_upscaler_goes_on() -> None:
    upscaler = Upscaler.load("detail-transfer")
    photo = views(1)[0]
    expected = upscaler.upscale(photo).image

    def stop(_: float) -> None:
        raise Cancelled("The user pressed the button.")

    with pytest.raises(Cancelled, match="pressed the button"):
        upscaler.upscale(photo, progress=stop)
    assert issubclass(Cancelled, RefsrError)
    np.testing.assert_array_equal(upscaler.upscale(photo).image, expected)
