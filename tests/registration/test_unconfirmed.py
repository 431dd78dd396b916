"""Where the photo is too coarse to confirm its reference: said, and left to it if asked for."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from pages import DIGITS, WORDS, Page
from refsr import Upscaler
from refsr.arrays import Pixels
from refsr.registration.evidence import NO_BOXES, judge
from refsr.registration.large_image import only_confirmed, register_coarse
from refsr.registration.register import prepare_reference, register
from refsr.resize import SCALE, imresize
from refsr.result import Result
from scenes import facade, seen_through

SHIFT = np.array([[1.02, 0.03, -6.0], [-0.02, 1.03, 4.0], [1e-5, 0.0, 1.0]])
WORD_SIZE = 20  # HR px: large enough to be registered


class SmallPrint(Page):
    """A page of large words, each with a number of digits of another size behind it."""

    def __init__(self, size: int, seed: int = 1, dark: bool = False) -> None:
        super().__init__(size, share=0.3, seed=seed, dark=dark)
        rng = np.random.default_rng(seed)
        self.words: list[tuple[float, int, str]] = []
        self.large = ImageFont.load_default(WORD_SIZE)
        self.signs = []
        below = round(self.large.getbbox("0")[3] - self.font.getbbox("0")[3])
        for y in range(8, 280, round(1.5 * WORD_SIZE)):
            x = 10.0
            while x < 300:
                word = f"{rng.choice(WORDS)}: "
                self.words.append((x, y, word))
                x += self.large.getlength(word)
                for _ in range(int(rng.integers(4, 9))):
                    sign, other = rng.choice(list(DIGITS), 2, replace=False)
                    x = self.put(x, y + below, str(sign), str(other))
                x += 8

    def draw(self, every: str | None = None, other: bool = False) -> Pixels:
        image = PillowImage.fromarray(super().draw(every, other))
        draw = ImageDraw.Draw(image)
        for x, y, word in self.words:
            draw.text((x, y), word, self.ink, self.large)
        return np.asarray(image)

    def told(self, lr: Pixels) -> float:
        """The share of the digits that can be read in the small photo."""
        read = self.read(lr, SCALE)
        return float(
            np.mean([one == digit[1] for one, digit in zip(read, self.digits, strict=True)])
        )

    def shares(self, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The share of each digit's place that is in a mask (h, w) in LR px."""
        places = [
            tuple(slice(part.start // SCALE, -(-part.stop // SCALE)) for part in place)
            for place, _, _ in self.digits
        ]
        return np.array([mask[place].mean() for place in places])


def unconfirmed(lr: Pixels, view: Pixels) -> NDArray[np.bool_]:
    """Where ``lr`` cannot confirm its reference ``view``."""
    reference = prepare_reference(view)
    found = judge(lr, reference, register(lr, reference)).unconfirmed
    assert found is not None
    return found


@pytest.mark.parametrize(("size", "dark"), [(5, False), (6, True), (8, False), (11, True)])
def test_digits_that_the_photo_cannot_tell_are_not_confirmed(size: int, dark: bool) -> None:
    page = SmallPrint(size, dark=dark)
    lr = imresize(page.draw(), scale=1 / SCALE)
    assert page.told(lr) < 0.5  # heights of 4 to 8 HR px
    assert (page.shares(unconfirmed(lr, page.photographed(other=False))) > 0.5).mean() > 0.85
    reference = prepare_reference(page.photographed(other=True))
    found = judge(lr, reference, register(lr, reference), strict=True)
    taken = cv2.resize(found.validity, lr.shape[1::-1], interpolation=cv2.INTER_AREA) > 0.5
    assert (page.shares(taken) < 0.5).mean() > 0.85  # wrong ones are refuted or not confirmed


@pytest.mark.parametrize(("size", "dark"), [(20, False), (20, True), (24, False)])
def test_digits_that_the_photo_tells_are_confirmed(size: int, dark: bool) -> None:
    page = SmallPrint(size, dark=dark)
    lr = imresize(page.draw(), scale=1 / SCALE)
    assert page.told(lr) > 0.8  # heights of 14 HR px and more
    shares = page.shares(unconfirmed(lr, page.photographed(other=False)))
    assert (shares > 0.5).mean() < 0.05


def test_noise_that_hides_what_the_reference_shows() -> None:
    lr = imresize(facade(3)[:512, :640], scale=1 / SCALE)
    view = seen_through(facade(3), SHIFT, (768, 640))
    assert unconfirmed(lr, view).mean() < 0.1
    noisy = lr.astype(np.float32)
    place = slice(30, 70), slice(40, 100)
    noisy[place] += np.random.default_rng(0).normal(0, 60, noisy[place].shape)
    found = unconfirmed(np.clip(noisy, 0, 255).astype(np.uint8), view)
    assert found[place].mean() > 0.4
    found[place] = False
    assert found.mean() < 0.1


def test_strict_is_not_valid_there_and_everywhere_else_the_same() -> None:
    page = SmallPrint(8)
    lr = imresize(page.draw(), scale=1 / SCALE)
    reference = prepare_reference(page.photographed(other=True))
    found = register(lr, reference)
    usual, strict = (judge(lr, reference, found, strict=one) for one in (False, True))
    assert usual.unconfirmed is not None
    assert strict.unconfirmed is not None
    np.testing.assert_array_equal(usual.unconfirmed, strict.unconfirmed)
    left = np.repeat(np.repeat(usual.unconfirmed, 2, axis=0), 2, axis=1)
    assert 0.05 < left.mean() < 0.5
    np.testing.assert_array_equal(strict.validity, np.where(left, 0, usual.validity))
    assert usual.validity[left].mean() > 0.8


def test_a_photo_in_blocks_has_the_same_places() -> None:
    page = SmallPrint(8)
    lr = imresize(page.draw(), scale=1 / SCALE)
    lr = cv2.copyMakeBorder(lr, 0, 40, 0, 0, cv2.BORDER_REFLECT)
    references = (prepare_reference(page.photographed(other=False)),)
    whole = only_confirmed(
        register_coarse(lr, references, lr.size), NO_BOXES
    ).composite.unconfirmed()
    coarse = only_confirmed(register_coarse(lr, references, 8_000), NO_BOXES, strict=True)
    blocks = coarse.blocks()
    assert coarse.shrunk
    assert len(blocks) > 1
    joined = np.zeros(lr.shape[:2], np.bool_)
    for block in blocks:
        joined[block.core_rows, block.core_cols] = coarse.block(block).unconfirmed()[block.core(1)]
    assert whole.mean() > 0.05
    assert (joined & whole).sum() > 0.7 * (joined | whole).sum()


def test_strict_leaves_small_print_to_the_photo() -> None:
    page = SmallPrint(8)
    lr = imresize(page.draw(), scale=1 / SCALE)
    upscaler = Upscaler.load("ssen-tiny", threads=1)
    references = upscaler.prepare(page.photographed(other=True))
    none = upscaler.upscale(lr)
    given = upscaler.upscale(lr, references=references)
    strict = upscaler.upscale(lr, references=references, strict=True)
    assert not none.report["strict"]
    assert none.report["unconfirmed"] == 0
    assert strict.report["strict"]
    assert strict.report["unconfirmed"] == round(float(strict.unconfirmed.mean()), 4)
    assert 0.05 < given.report["unconfirmed"] < strict.report["unconfirmed"]
    np.testing.assert_array_equal(strict.unconfirmed, given.unconfirmed)
    percent = round(100 * given.report["unconfirmed"])
    words = f"borrowed, cannot be confirmed: {percent} % of the photo"
    assert any(note.startswith(words) for note in given.report["notes"])
    percent = round(100 * strict.report["unconfirmed"])
    words = f"left to the photo: {percent} % of it"
    assert any(note.startswith(words) for note in strict.report["notes"])
    inside = cv2.erode(given.unconfirmed.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert inside.sum() > 100
    assert change(strict, none, inside) < 0.35 * change(given, none, inside)
    away = cv2.dilate(given.unconfirmed.astype(np.uint8), np.ones((9, 9), np.uint8)) == 0
    assert change(strict, given, away) < 0.1 * change(given, none, away)
    check = upscaler.check(lr, references=references)
    assert any(f"in up to {percent} % of the photo it is too coarse" in one for one in check.notes)


def change(one: Result, other: Result, mask: NDArray[np.bool_]) -> float:
    """The mean absolute difference of two results where a mask (h, w) in LR px is set."""
    difference = np.abs(one.photo.pixels.astype(np.float32) - other.photo.pixels).mean(axis=2)
    height, width = mask.shape
    cells = difference.reshape(height, SCALE, width, SCALE).mean(axis=(1, 3))
    return float(cells[mask].mean())
