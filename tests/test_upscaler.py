"""The road from a photo and its references to the result: what must hold, whatever the weights.

The limits in dB are those of a model trained for minutes; the shipped ones lie well above.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
import skimage.data
from numpy.typing import NDArray

from refsr import References, RefsrError, Upscaler
from refsr.arrays import Pixels
from refsr.errors import PhotoError
from refsr.evaluate.metrics import psnr
from refsr.image.photo import Photo, load_photo, save_photo
from refsr.inference import plan
from refsr.inference.network import Network
from refsr.resize import imresize
from refsr.upscaler import NOTHING_TAKEN_NOTE
from refsr.weights.models import CLEAN, DAMAGED, SMALL

GOLDEN = Path(__file__).parent / "golden"


@lru_cache
def truth() -> Pixels:
    """A photo of a face before a flag and a shuttle: (288, 320, 3)."""
    return np.ascontiguousarray(skimage.data.astronaut()[:288, 80:400])


@lru_cache
def small() -> Pixels:
    return imresize(truth(), scale=0.25)


@lru_cache
def other_view() -> Pixels:
    """``truth`` through a known homography, a little finer, in other light: (380, 420, 3)."""
    matrix = np.array([[1.14, 0.06, 14.0], [-0.05, 1.17, 22.0], [1e-5, -2e-5, 1.0]])
    seen = cv2.warpPerspective(truth(), matrix, (420, 380), flags=cv2.INTER_LANCZOS4)
    return np.clip(seen * (1.05, 1.0, 0.93), 0, 255).astype(np.uint8)


@lru_cache
def foreign() -> Pixels:
    return np.ascontiguousarray(skimage.data.coffee()[:260, :300])


@lru_cache
def loaded() -> Upscaler:
    return Upscaler.load(threads=1)


@pytest.fixture
def in_smallest_tiles(monkeypatch: pytest.MonkeyPatch) -> Upscaler:
    monkeypatch.setattr(plan, "MIN_TILE", 0)
    monkeypatch.setattr(plan, "MAX_TILE", 0)
    return Upscaler.load(threads=1)


def upscaled(photo: Any, *references: Any) -> NDArray[Any]:
    upscaler = loaded()
    upscaler.set_reference(list(references))
    image = upscaler.upscale(photo).image
    assert isinstance(image, np.ndarray)
    return image


def apart(first: NDArray[Any], second: NDArray[Any]) -> int:
    """The largest difference, in levels."""
    assert first.dtype == second.dtype
    return int(np.abs(first.astype(int) - second).max())


# What comes out


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 50), (31, 33), (64, 64)])
@pytest.mark.parametrize("model", ["ssen", "detail-transfer"])
def test_the_result_is_four_times_larger(size: tuple[int, int], model: str) -> None:
    upscaler = loaded() if model == "ssen" else Upscaler.load(model)
    height, width = size
    for reference in (None, truth()):
        upscaler.set_reference(reference)
        result = upscaler.upscale(small()[:height, :width])
        assert result.photo.pixels.shape == (4 * height, 4 * width, 3)
        assert result.photo.pixels.dtype == np.uint8
        assert result.map().shape == (4 * height, 4 * width, 3)
        for field in (result.similarity, result.provenance):
            assert field.shape == size
            assert field.min() >= 0
            assert field.max() <= 1
        assert result.report["output_size"] == [4 * width, 4 * height]


def test_an_array_a_pil_image_a_path_and_bytes_give_the_same(tmp_path: Path) -> None:
    photo = small()[:24, :30]
    path, packed = tmp_path / "photo.png", io.BytesIO()
    pil = PIL.Image.fromarray(photo)
    pil.save(path)
    pil.save(packed, "PNG")
    upscaler = loaded()
    upscaler.set_reference(None)
    wanted = upscaler.upscale(photo).image
    assert isinstance(wanted, np.ndarray)
    from_pil = upscaler.upscale(pil).image
    assert isinstance(from_pil, PIL.Image.Image)
    np.testing.assert_array_equal(np.asarray(from_pil), wanted)
    for source in (path, str(path), packed.getvalue()):
        np.testing.assert_array_equal(np.asarray(upscaler.upscale(source).image), wanted)
    upscaler.upscale(photo).save(tmp_path / "out.png")
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(tmp_path / "out.png")), wanted)


def test_16_bits_come_back_as_16_bits(tmp_path: Path) -> None:
    ramp = np.linspace(20_000, 23_000, 40 * 24).reshape(24, 40, 1) + np.arange(3) * 50
    path = tmp_path / "deep.png"
    save_photo(Photo.of(ramp.astype(np.uint16)), path)
    upscaler = loaded()
    upscaler.set_reference(None)
    result = upscaler.upscale(path)
    assert result.photo.pixels.dtype == np.uint16
    assert len(np.unique(result.photo.pixels)) > 1000
    result.save(tmp_path / "out.tif")
    again = load_photo(tmp_path / "out.tif")
    np.testing.assert_array_equal(again.pixels, result.photo.pixels)
    eight = upscaled((ramp / 257).round().astype(np.uint8))
    assert apart(result.photo.as_uint8(), eight) <= 2


@pytest.mark.parametrize("model", ["ssen", "detail-transfer"])
@pytest.mark.parametrize("referenced", [False, True])
def test_16_bits_with_alpha_and_a_reference(model: str, referenced: bool) -> None:
    upscaler = loaded() if model == "ssen" else Upscaler.load(model)
    upscaler.set_reference(other_view() if referenced else None)
    alpha = np.full((72, 80), 40_000, np.uint16)
    fine = np.random.default_rng(0).integers(-120, 121, (72, 80, 3))  # below 8 bits
    deep = np.clip(small().astype(int) * 257 + fine, 0, 65535).astype(np.uint16)
    seen: list[float] = []
    result = upscaler.upscale(np.dstack([deep, alpha]), progress=seen.append)
    assert seen == sorted(set(seen))
    assert seen[-1] == 1
    assert result.photo.bits == 16
    assert result.photo.alpha is not None
    assert apart(result.photo.alpha, np.full((288, 320), 40_000, np.uint16)) <= 1
    assert np.unique(result.photo.pixels).size > 20_000
    eight = np.asarray(upscaler.upscale(small()).image)
    assert np.abs(result.photo.as_uint8().astype(int) - eight).mean() < 1
    gain = psnr(result.photo.as_uint8(), truth(), border=4) - psnr(
        imresize(small(), scale=4.0), truth(), border=4
    )
    assert gain > (2 if referenced else -0.1)


def test_alpha_profile_and_exif_survive(tmp_path: Path) -> None:
    alpha = np.zeros((24, 30), np.uint8)
    alpha[:, 12:] = 255
    image = PIL.Image.fromarray(np.dstack([small()[:24, :30], alpha]))
    exif = PIL.Image.Exif()
    exif[0x010F] = "A camera"
    icc = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    image.save(tmp_path / "in.png", exif=exif, icc_profile=icc)
    upscaler = loaded()
    upscaler.set_reference(None)
    result = upscaler.upscale(tmp_path / "in.png")
    result.save(tmp_path / "out.png")
    result.save(tmp_path / "bare.png", strip_metadata=True)
    out, bare = (PIL.Image.open(tmp_path / name) for name in ("out.png", "bare.png"))
    assert (out.size, out.mode) == ((120, 96), "RGBA")
    assert out.info["icc_profile"] == bare.info["icc_profile"] == icc
    assert out.getexif()[0x010F] == "A camera"
    assert 0x010F not in bare.getexif()
    seen = np.asarray(out)[..., 3]
    assert (seen[:, :40] == 0).all()
    assert (seen[:, 56:] == 255).all()
    from_pil = upscaler.upscale(image).image
    assert isinstance(from_pil, PIL.Image.Image)
    np.testing.assert_array_equal(np.asarray(from_pil), np.asarray(out))


def test_a_reference_in_other_colors_is_converted(tmp_path: Path) -> None:
    """The photo says sRGB in words, the reference says nothing and is sRGB, too: no change."""
    icc = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    PIL.Image.fromarray(small()).save(tmp_path / "small.png", icc_profile=icc)
    upscaler = loaded()
    upscaler.set_reference(other_view())
    with_words = upscaler.upscale(tmp_path / "small.png").image
    assert apart(np.asarray(with_words), upscaled(small(), other_view())) <= 3


def test_a_gray_photo_stays_gray(tmp_path: Path) -> None:
    path = tmp_path / "gray.png"
    PIL.Image.fromarray(small()).convert("L").save(path)
    upscaler = loaded()
    upscaler.set_reference(truth())
    upscaler.upscale(path).save(tmp_path / "out.png")
    assert PIL.Image.open(tmp_path / "out.png").mode == "L"


# Where it lies, and its colors


def tiles_of(upscaler: Upscaler) -> int:
    """In how many tiles ``small`` is worked on."""
    seen: list[float] = []
    upscaler.upscale(small(), progress=seen.append)
    return len([done for done in seen if done > 0])


@pytest.mark.parametrize("referenced", [False, True])
def test_tiled_equals_untiled(
    in_smallest_tiles: Upscaler, monkeypatch: pytest.MonkeyPatch, referenced: bool
) -> None:
    tiny = in_smallest_tiles
    if not referenced:
        assert tiles_of(tiny) >= 4
    references = [other_view()] if referenced else []
    tiny.set_reference(references)
    tiled = tiny.upscale(small())
    assert isinstance(tiled.image, np.ndarray)
    monkeypatch.undo()
    whole = upscaled(small(), *references)
    assert apart(tiled.image, whole) <= 1


@pytest.mark.parametrize("referenced", [False, True])
def test_colors_stay_and_nothing_moves(referenced: bool) -> None:
    upscaler = loaded()
    upscaler.set_reference(other_view() if referenced else None)
    result = upscaler.upscale(small())
    assert isinstance(result.image, np.ndarray)
    bicubic = imresize(small(), scale=4.0)
    colors = result.image.mean(axis=(0, 1)) - small().mean(axis=(0, 1))
    assert np.abs(colors).max() < 0.3
    again = imresize(result.image, scale=0.25).astype(float)
    assert np.abs(again - small()).mean() < 1.0
    assert result.report["lr_error_levels"] < 1.0
    assert np.abs(shift_of(bicubic, result.image)).max() < 0.02
    assert np.abs(shift_of(truth(), result.image)).max() < 0.02


def shift_of(first: Pixels, second: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """How far (x, y), in pixels, the second image lies from the first, by least squares.

    Not by phase correlation, which gives every frequency the same weight: bicubic has nothing but
    aliasing in the highest ones, and even the truth seems to lie half a pixel from it.
    """
    lumas = [cv2.cvtColor(i, cv2.COLOR_RGB2GRAY).astype(np.float32) for i in (first, second)]
    soft = [cv2.GaussianBlur(luma, (0, 0), 2)[16:-16, 16:-16] for luma in lumas]
    slopes = np.stack([np.gradient(soft[0], axis=axis).ravel() for axis in (1, 0)], axis=1)
    best, *_ = np.linalg.lstsq(slopes, (soft[0] - soft[1]).ravel(), rcond=None)
    return np.asarray(best)


def test_the_measure_of_shifts_sees_a_tenth_of_a_pixel() -> None:
    matrix = np.array([[1, 0, 0.1], [0, 1, -0.05]])
    moved = cv2.warpAffine(truth(), matrix, (320, 288), flags=cv2.INTER_LANCZOS4)
    np.testing.assert_allclose(shift_of(truth(), moved), [0.1, -0.05], atol=0.02)


@pytest.mark.parametrize("level", [0, 1, 128, 254, 255])
def test_a_flat_photo_stays_flat(level: int) -> None:
    flat = np.full((20, 30, 3), level, np.uint8)
    assert apart(upscaled(flat), np.full((80, 120, 3), level, np.uint8)) <= 1


# References


def test_foreign_and_blank_references_cost_nothing() -> None:
    alone = upscaled(small())
    blank = np.full((200, 200, 3), 127, np.uint8)
    dot = np.zeros((1, 1, 3), np.uint8)
    for references in ([foreign()], [blank], [dot], [foreign(), blank, dot]):
        np.testing.assert_array_equal(upscaled(small(), *references), alone)


def test_foreign_references_beside_the_right_one_cost_nothing() -> None:
    right = upscaled(small(), other_view())
    assert apart(upscaled(small(), other_view(), foreign(), np.zeros_like(foreign())), right) <= 1
    assert apart(upscaled(small(), foreign(), other_view()), right) <= 1


def test_a_reference_given_twice_counts_once() -> None:
    once = upscaled(small(), other_view())
    assert apart(upscaled(small(), other_view(), other_view()), once) <= 1


def test_the_order_of_references_does_not_matter() -> None:
    halves = other_view()[:, :260], other_view()[:, 170:]
    first, second = upscaled(small(), *halves), upscaled(small(), *halves[::-1])
    assert psnr(first, second, border=0) > 45  # the order breaks ties, where both fit alike
    alone = psnr(upscaled(small()), truth(), border=4)
    for image in (first, second):
        assert psnr(image, truth(), border=4) > alone + 1.5


def test_another_view_of_the_truth_gains() -> None:
    upscaler = loaded()
    upscaler.set_reference(None)
    alone = upscaler.upscale(small())
    upscaler.set_reference(other_view())
    borrowed = upscaler.upscale(small())
    assert isinstance(alone.image, np.ndarray)
    assert isinstance(borrowed.image, np.ndarray)
    gain = psnr(borrowed.image, truth(), border=4) - psnr(alone.image, truth(), border=4)
    assert gain > 2  # dB
    assert alone.provenance.max() == alone.similarity.max() == 0
    assert borrowed.similarity.mean() > 0.7
    assert borrowed.provenance.mean() > 0.1
    upscaler.set_reference(None)
    again = upscaler.upscale(small()).image
    np.testing.assert_array_equal(np.asarray(again), alone.image)


def test_a_folder_is_the_references_in_it(tmp_path: Path) -> None:
    for name, image in (("a.png", foreign()), ("b.PNG", other_view())):
        PIL.Image.fromarray(image).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no photo")
    upscaler = loaded()
    for references in (tmp_path, str(tmp_path), [tmp_path], [tmp_path / "a.png", other_view()]):
        upscaler.set_reference(references)
        assert len(upscaler.references.loaded) == 2
    upscaler.set_reference([])
    assert upscaler.references.loaded == ()


def test_a_broken_file_of_a_folder_is_left_out_and_said_so(tmp_path: Path) -> None:
    PIL.Image.fromarray(other_view()).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no photo")
    upscaler = loaded()
    upscaler.set_reference(tmp_path)
    assert [one.name for one in upscaler.references.loaded] == ["a.png"]
    notes = upscaler.upscale(small()).report["notes"]
    assert sum("left out" in note and "b.png" in note for note in notes) == 1
    with pytest.raises(PhotoError, match=r"b\.png"):  # named itself, it is a mistake
        upscaler.set_reference([tmp_path / "a.png", tmp_path / "b.png"])
    (tmp_path / "a.png").unlink()
    with pytest.raises(PhotoError, match=r"b\.png"):  # nothing is left
        upscaler.set_reference(tmp_path)
    upscaler.set_reference(None)
    assert upscaler.references.left_out == ()


def test_a_bad_reference_leaves_the_old_ones_in_place(tmp_path: Path) -> None:
    upscaler = loaded()
    upscaler.set_reference(foreign())
    before = upscaler.references
    for wrong in (42, object(), tmp_path / "none.png", tmp_path, [foreign(), 3.5], b"bytes"):
        with pytest.raises(RefsrError, match=r"^[^\n]+\.$"):
            upscaler.set_reference(wrong)  # pyright: ignore
        assert upscaler.references is before


# Golden scenes, drawn by research/render_golden.py: the truth is the measure, not an old result


@pytest.mark.parametrize(("scene", "margin"), [("leaves", 5.0), ("page", 5.0), ("bricks", 5.0)])
def test_golden_scenes(scene: str, margin: float) -> None:
    lr, ref, hr = (
        np.asarray(PIL.Image.open(GOLDEN / f"{scene}_{kind}.png"))
        for kind in ("small", "sharp", "truth")
    )
    bicubic = psnr(imresize(lr, scale=4.0), hr, border=4)
    assert psnr(upscaled(lr), hr, border=4) > bicubic
    assert psnr(upscaled(lr, ref), hr, border=4) > bicubic + margin


# References that are transparent


@pytest.mark.parametrize("model", ["detail-transfer", "ssen"])
def test_what_a_reference_hides_has_no_effect(model: str) -> None:
    view = other_view()
    height, width = view.shape[:2]
    alpha = np.full((height, width), 255, np.uint8)
    alpha[:, width // 2 :] = 0
    noise = np.random.default_rng(5).integers(0, 256, view.shape, np.uint8)
    upscaler = loaded() if model == "ssen" else Upscaler.load(model)
    results: list[Any] = []
    for hidden in (view, noise, np.zeros_like(view)):
        upscaler.set_reference(np.dstack([np.where(alpha[..., None] > 0, view, hidden), alpha]))
        results.append(upscaler.upscale(small()))
    for other in results[1:]:
        np.testing.assert_array_equal(other.image, results[0].image)
    upscaler.set_reference(view)
    whole = upscaler.upscale(small())
    upscaler.set_reference(None)
    none = np.asarray(upscaler.upscale(small()).image)
    (row,), (all_of_it,) = results[0].report["references"], whole.report["references"]
    assert row["used"]
    assert 0.25 * all_of_it["coverage"] < row["coverage"] < 0.75 * all_of_it["coverage"]
    borrowed, quarter = results[0].amounts[..., 1], small().shape[1] // 4
    assert borrowed[:, :quarter].mean() > 0.5 * whole.amounts[:, :quarter, 1].mean() > 0
    assert borrowed[:, -quarter:].max() == 0
    assert apart(np.asarray(results[0].image)[:, -64:], none[:, -64:]) <= 1


def test_a_reference_that_is_transparent_all_over_shows_nothing() -> None:
    view, upscaler = other_view(), loaded()
    upscaler.set_reference(np.dstack([view, np.zeros(view.shape[:2], np.uint8)]))
    result = upscaler.upscale(small())
    assert result.report["references"][0]["verdict"] == (
        "This reference is transparent all over and shows nothing: it will not be used."
    )
    upscaler.set_reference(None)
    np.testing.assert_array_equal(result.image, upscaler.upscale(small()).image)


# Progress, threads, memory, wrong use


def test_progress_rises_to_one_and_may_end_the_job(in_smallest_tiles: Upscaler) -> None:
    tiny = in_smallest_tiles
    seen: list[float] = []
    tiny.upscale(small(), progress=seen.append)
    assert len(seen) >= 4
    assert seen == sorted(set(seen))
    assert seen[0] > 0
    assert seen[-1] == 1

    class Enough(Exception):
        pass

    def stop(done: float) -> None:
        if done > 0.3:
            raise Enough

    with pytest.raises(Enough):
        tiny.upscale(small(), progress=stop)
    assert np.asarray(tiny.upscale(small()[:8, :8]).image).shape == (32, 32, 3)  # still good


def test_photos_in_several_threads_are_as_one_after_the_other() -> None:
    upscaler = loaded()
    upscaler.set_reference([other_view(), foreign()])
    photos = [small()[:56], small()[:, :64], small()[8:, 8:], small()[::-1].copy()]
    wanted = [np.asarray(upscaler.upscale(photo).image) for photo in photos]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(upscaler.upscale, photos))
    for result, image in zip(results, wanted, strict=True):
        np.testing.assert_array_equal(np.asarray(result.image), image)


def test_references_set_meanwhile_are_for_the_photos_to_come() -> None:
    upscaler = loaded()
    upscaler.set_reference([other_view(), foreign()])
    result = upscaler.upscale(small(), progress=lambda _: upscaler.set_reference(None))
    assert [r["matched"] for r in result.report["references"]] == [True, False]
    assert upscaler.upscale(small()).report["references"] == []


def test_the_tiles_shrink_when_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = np.hstack([small(), small()[:, ::-1]])  # 72 x 160: more than one of the least tiles
    wanted = upscaled(wide, other_view())
    run, sizes, seen = Network.run, list[int](), list[float]()

    def scarce(self: Network, lr: Any, *others: Any) -> Any:
        if self.model.name == SMALL:  # that looks for copies of the photo
            return run(self, lr, *others)
        sizes.append(lr.shape[0] * lr.shape[1])
        if sizes[-1] > 72 * 96:
            raise MemoryError
        return run(self, lr, *others)

    monkeypatch.setattr(Network, "run", scarce)
    upscaler = Upscaler.load(threads=1, max_memory="1.5GB")
    upscaler.set_reference(other_view())
    result = upscaler.upscale(wide, progress=seen.append)
    assert isinstance(result.image, np.ndarray)
    assert apart(result.image, wanted) <= 1
    assert sizes[0] == 72 * 160
    assert max(sizes[1:]) < sizes[0]
    assert seen == sorted(set(seen))
    assert seen[-1] == 1
    sizes.clear()
    upscaler.upscale(wide)
    assert sizes[0] == 72 * 160  # the next job begins with whole tiles again


def opencv_without_memory() -> cv2.error:
    error = cv2.error("no memory")
    error.code = -4
    return error


@pytest.mark.parametrize("error", [MemoryError(), opencv_without_memory()], ids=["own", "opencv"])
def test_what_the_callers_callback_raises_is_not_taken_for_ones_own(error: Exception) -> None:
    """Out of memory in the callback: no tile would be small enough for it."""
    calls = list[float]()

    def fail(done: float) -> None:
        calls.append(done)
        raise error

    with pytest.raises(type(error)) as raised:
        Upscaler.load("detail-transfer").upscale(np.zeros((9, 9, 3), np.uint8), progress=fail)
    assert raised.value is error
    assert len(calls) == 1


def test_no_memory_at_all_is_a_refsr_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Network, "run", none_left)
    with pytest.raises(RefsrError, match="not enough memory for even the smallest tile"):
        Upscaler.load(threads=1).upscale(small())


def test_what_the_runtime_raises_becomes_an_error_of_ours() -> None:
    upscaler = Upscaler.load(threads=1)

    class Broken:
        provider, program_bytes = "none that works", 0
        message = "node failed"

        def run(self, *_: object) -> None:
            raise RuntimeError(self.message)

    assert isinstance(upscaler.networks.clean, Network)
    upscaler.networks.clean.session = broken = Broken()  # pyright: ignore
    with pytest.raises(RefsrError, match="The model ssen failed"):
        upscaler.upscale(small())
    broken.message = "bad_alloc: Failed to allocate memory"
    with pytest.raises(RefsrError, match="not enough memory"):
        upscaler.upscale(small())


def test_wrong_use_is_an_error_of_ours(tmp_path: Path) -> None:
    no_model = tmp_path / "broken.onnx"
    no_model.write_bytes(b"no model")
    loads: list[dict[str, Any]] = [
        {"model": "sssen"},
        {"model": no_model},
        {"model": 7},
        {"device": "abacus"},
        {"threads": -1},
    ]
    for options in loads:
        with pytest.raises(RefsrError, match=r"^[^\n]+[.?]$"):
            Upscaler.load(**options)
    for photo in (None, 42, [small()], np.zeros((0, 5, 3), np.uint8), np.zeros((4, 4, 3), int)):
        with pytest.raises(RefsrError, match=r"^[^\n]+\.$"):
            loaded().upscale(photo)  # pyright: ignore


# The model is chosen by the photo's condition.


def as_jpeg(pixels: Pixels, quality: int) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()


def test_a_compressed_photo_gets_the_model_for_damaged_ones() -> None:
    packed = as_jpeg(small(), 50)
    loaded().set_reference(None)
    automatic = loaded().upscale(packed)
    assert automatic.report["model"] == DAMAGED
    assert any(DAMAGED in note for note in automatic.report["notes"])
    named = Upscaler.load(DAMAGED).upscale(packed)
    ours, chosen = np.asarray(named.image), np.asarray(automatic.image)
    assert np.array_equal(chosen, ours)
    assert named.report["notes"] == []
    other = Upscaler.load(CLEAN).upscale(packed)
    assert psnr(ours, truth(), 4) > psnr(np.asarray(other.image), truth(), 4) + 0.3


def test_a_clean_photo_gets_the_model_for_clean_ones() -> None:
    for photo in (small(), as_jpeg(small(), 100)):
        assert loaded().upscale(photo).report["model"] == CLEAN


def test_with_a_reference_a_lightly_compressed_photo_counts_as_damaged() -> None:
    """A foreign reference, or none of its strength, changes nothing: not the model either."""
    packed, upscaler = as_jpeg(small(), 94), loaded()
    upscaler.set_reference(other_view())
    given = upscaler.upscale(packed)
    assert given.report["model"] == DAMAGED
    unused = upscaler.upscale(packed, strength=0).report
    assert unused["model"] == CLEAN
    assert NOTHING_TAKEN_NOTE in unused["notes"]
    assert upscaler.upscale(as_jpeg(small(), 97)).report["model"] == CLEAN
    upscaler.set_reference(foreign())
    assert upscaler.upscale(packed).report["model"] == CLEAN
    other = Upscaler.load(CLEAN)
    other.set_reference(other_view())
    clean = np.asarray(other.upscale(packed).image)
    assert psnr(np.asarray(given.image), truth(), 4) > psnr(clean, truth(), 4) + 0.3


def test_the_damage_of_a_photo_does_not_come_back() -> None:
    """Where the photo is clean the result, shrunk, is the photo; where it is damaged, it is not."""
    packed = as_jpeg(small(), 30)
    loaded().set_reference(None)
    automatic, faithful = loaded().upscale(packed), Upscaler.load(CLEAN).upscale(packed)
    assert faithful.report["lr_error_levels"] < 0.7
    assert automatic.report["lr_error_levels"] > 2 * faithful.report["lr_error_levels"]
    again = imresize(np.asarray(automatic.image), scale=0.25).astype(float)
    pixels = np.asarray(PIL.Image.open(io.BytesIO(packed))).astype(float)
    assert np.abs(again - small()).mean() < np.abs(pixels - small()).mean()


# References as values


def test_prepared_references_serve_many_photos_and_threads() -> None:
    """Each call uses its own, whatever ``set_reference`` said."""
    upscaler = Upscaler.load("detail-transfer")
    right, wrong = upscaler.prepare(other_view()), upscaler.prepare(foreign())
    with_right = np.asarray(upscaler.upscale(small(), references=right).image)
    alone = np.asarray(upscaler.upscale(small()).image)
    assert apart(with_right, alone) > 20
    upscaler.set_reference(foreign())
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(upscaler.upscale, small(), references=given)
            for given in (right, wrong, right, None, References())
        ]
    images = [np.asarray(job.result().image) for job in jobs]
    for image, wanted in zip(images, (with_right, alone, with_right, alone, alone), strict=True):
        np.testing.assert_array_equal(image, wanted)


def test_check_says_what_the_report_says() -> None:
    upscaler = Upscaler.load("detail-transfer")
    references = upscaler.prepare([other_view(), foreign()])
    check = upscaler.check(small(), references=references)
    report = upscaler.upscale(small(), references=references).report
    assert [row["used"] for row in check.references] == [True, False]
    for row, reported in zip(check.references, report["references"], strict=True):
        assert row == {key: reported[key] for key in row}
    assert check.expected_gain_db == report["expected_gain_db"] > 0
    assert check.notes == report["notes"] == []
    none = upscaler.check(small())
    assert (none.composite, none.references, none.expected_gain_db) == (None, [], 0.0)
