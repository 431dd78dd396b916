"""Where the photo refutes its reference: other digits, not other light, not a good reference."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pages import Page
from refsr import Upscaler
from refsr.arrays import Pixels
from refsr.registration.evidence import NO_BOXES, judge
from refsr.registration.large_image import only_confirmed, register_coarse
from refsr.registration.register import Registration, prepare_reference, register
from refsr.resize import SCALE, imresize
from scenes import facade, seen_through

SHIFT = np.array([[1.02, 0.03, -6.0], [-0.02, 1.03, 4.0], [1e-5, 0.0, 1.0]])


NEXT = 6  # HR px: digits nearer to a changed one share its LR pixels


def judged(lr: Pixels, view: Pixels) -> tuple[Registration, Registration]:
    """The registration of ``view`` to ``lr``, before and after."""
    reference = prepare_reference(view)
    before = register(lr, reference)
    assert before.matched
    return before, judge(lr, reference, before)


def kept(before: Registration, after: Registration) -> NDArray[np.float32]:
    """The share of the validity that is left: (2h, 2w); 1 where there was none."""
    return np.where(before.validity > 0.1, after.validity / np.maximum(before.validity, 0.1), 1)


@pytest.mark.parametrize(("size", "dark"), [(16, False), (22, False), (16, True)])
def test_other_digits_are_refuted_and_equal_ones_are_not(size: int, dark: bool) -> None:
    page = Page(size, share=0.3, seed=size, dark=dark)
    lr = imresize(page.draw(), scale=1 / SCALE)
    before, after = judged(lr, page.photographed(other=True))
    left = kept(before, after)
    changed = np.zeros(page.draw().shape[:2], np.uint8)
    for place, here, there in page.digits:
        changed[place] = here != there
    near = cv2.dilate(changed, np.ones((2 * NEXT + 1, 2 * NEXT + 1), np.uint8))
    refuted: list[float] = []
    equal: list[float] = []
    for place, here, there in page.digits:
        rows, cols = (slice(part.start // 2, -(-part.stop // 2)) for part in place)
        share = float(left[rows, cols].mean())
        if here != there:
            refuted.append(share)
        elif not near[place].any():
            equal.append(share)
    assert min(len(refuted), len(equal)) > 15
    assert np.mean(refuted) < 0.45
    assert np.mean(equal) > 0.85
    assert 0.005 < after.contradicted < 0.3


@pytest.mark.parametrize("size", [16, 22])
def test_the_same_page_is_not_refuted(size: int) -> None:
    page = Page(size, share=0.0, seed=size)
    lr = imresize(page.draw(), scale=1 / SCALE)
    before, after = judged(lr, page.photographed(other=False))
    assert kept(before, after).mean() > 0.985


def test_a_good_reference_and_other_light_are_not_refuted() -> None:
    hr = facade(3)[:512, :640]
    view = seen_through(facade(3), SHIFT, (768, 640)).astype(np.float32)
    lr = imresize(hr, scale=1 / SCALE)
    shade = np.linspace(0.6, 1.0, view.shape[1])[None, :, None]
    for light in (view, view * shade, 255 * (view / 255) ** 0.7):
        before, after = judged(lr, np.clip(light, 0, 255).astype(np.uint8))
        assert kept(before, after).mean() > 0.98


def test_an_irrelevant_reference_stays_invalid(natural: Pixels) -> None:
    page = Page(16, share=0.0, seed=1)
    lr, reference = imresize(page.draw(), scale=1 / SCALE), prepare_reference(natural)
    before = register(lr, reference)
    assert not before.matched
    assert judge(lr, reference, before) is before


@pytest.mark.parametrize("size", [18, 24])
def test_no_digit_of_the_reference_is_drawn_where_the_photo_tells_another(size: int) -> None:
    page = Page(size, share=0.3, seed=size)
    lr = imresize(page.draw(), scale=1 / SCALE)
    upscaler = Upscaler.load(threads=1)
    drawn: dict[str, list[str]] = {}
    for name, sources in (("none", None), ("given", [page.photographed(other=True)])):
        result = upscaler.upscale(lr, references=upscaler.prepare(sources))
        drawn[name] = page.read(result.photo.as_uint8())
    told = page.read(lr, SCALE)  # what the photo itself tells
    digits = [(here, there) for _, here, there in page.digits]
    changed = [i for i, (here, there) in enumerate(digits) if here != there and told[i] == here]
    equal = [i for i, (here, there) in enumerate(digits) if here == there]
    assert len(changed) > 10

    def false(name: str) -> int:
        return sum(drawn[name][i] == digits[i][1] for i in changed)

    def right(name: str) -> int:
        return sum(drawn[name][i] == digits[i][0] for i in equal)

    assert false("given") <= false("none") + 1
    assert right("given") >= right("none")
    assert any("shows something else" in note for note in result.report["notes"])


def test_a_photo_that_is_registered_shrunk_is_judged_at_full_size() -> None:
    """What is refuted is the blocks' to say: shrunk, the photo is another one than was taken."""
    page = Page(20, 0.5, 3)
    lr, reference = imresize(page.draw(), scale=0.25), prepare_reference(page.photographed(False))
    left: list[float] = []
    for most_pixels in (10**6, round(0.88 * lr.shape[0] * lr.shape[1])):
        coarse = register_coarse(lr, (reference,), most_pixels)
        before, after = coarse, only_confirmed(coarse, NO_BOXES)
        valid = [
            sum(one.block(block).registrations[0].validity.sum() for block in one.blocks())
            for one in (before, after)
        ]
        left.append(float(valid[1] / valid[0]))
    assert coarse.shrunk
    assert min(left) > 0.98
