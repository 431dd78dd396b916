"""Provenance of the detail, and the expected gain of references."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from refsr.arrays import Image
from refsr.registration.gain import (
    CLEAR,
    SMALL,
    GainFactors,
    expected_gain,
    explained_share,
    gain_class,
)
from refsr.report.provenance import (
    BORROWED,
    BOTH,
    GUESSED,
    OWN,
    TINTS,
    UNCONFIRMED,
    borrowed_share,
    detail_amounts,
    detail_shares,
    overall_shares,
    percents,
    provenance_map,
    unconfirmed_share,
)
from refsr.resize import imresize

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def hr() -> Image:
    photo = np.ascontiguousarray(skimage.data.astronaut()[:160, 80:320])
    return photo.astype(np.float32) / np.float32(255)


def amounts(hr: Image, sr: Image, gate: float) -> Image:
    lr = imresize(hr, scale=0.25)
    return detail_amounts(sr, np.full(hr.shape[:2], gate, np.float32), hr, lr)


def test_the_bicubic_photo_is_all_its_own(hr: Image) -> None:
    bicubic = imresize(imresize(hr, scale=0.25), scale=4.0)
    shares = overall_shares(amounts(hr, bicubic, 0.0))
    assert shares["borrowed"] == 0
    assert shares["own"] > 0.99


def test_what_the_gate_hands_over_is_borrowed_and_the_rest_is_guessed(hr: Image) -> None:
    """The result is the truth: all of its fine detail is handed over, or drawn, or half of each."""
    given, drawn, half = (amounts(hr, hr, gate) for gate in (1.0, 0.0, 0.5))
    assert np.median(borrowed_share(given)) > 0.85
    assert not borrowed_share(drawn).any()
    np.testing.assert_allclose(half[..., BORROWED], given[..., BORROWED] / 2, atol=1e-5)
    np.testing.assert_allclose(half[..., GUESSED], half[..., BORROWED], rtol=0.5, atol=0.01)
    assert overall_shares(drawn)["guessed"] == pytest.approx(
        overall_shares(given)["borrowed"], abs=0.05
    )


def test_shares_are_shares_and_a_flat_photo_is_its_own(hr: Image) -> None:
    shares = detail_shares(amounts(hr, hr, 0.7))
    assert shares.min() >= -1e-6
    np.testing.assert_allclose(shares.sum(axis=2), 1, atol=1e-5)
    flat = np.full_like(hr, 0.5)
    nothing = amounts(flat, flat, 1.0)
    assert detail_shares(nothing)[..., OWN].min() > 0.99
    assert overall_shares(nothing) == {"own": 1.0, "borrowed": 0.0, "guessed": 0.0}


def test_the_map_is_green_where_borrowed_orange_where_guessed_gray_else() -> None:
    kinds = np.zeros((60, 90, 3), np.float32)
    for plane in range(3):
        kinds[:, 30 * plane : 30 * plane + 30, plane] = 0.2
    picture = provenance_map(np.full((240, 360, 3), 150, np.uint8), kinds).astype(int)
    own, borrowed, guessed = (picture[40, x] for x in (60, 180, 300))
    assert np.ptp(own) <= 2
    assert borrowed[1] > borrowed[0] + 60  # green above red
    assert guessed[0] > guessed[2] + 60  # red above blue
    legend = picture[-50:, :60].reshape(-1, 3)
    for tint in ((128, 128, 128), (0, 158, 115), (213, 94, 0)):
        assert (np.abs(legend - tint).max(axis=1) == 0).sum() > 20
    mixed = np.zeros((60, 90, 3), np.float32)
    mixed[..., BORROWED] = mixed[..., GUESSED] = 0.1
    red, green, blue = provenance_map(np.full((240, 360, 3), 150, np.uint8), mixed)[40, 180]
    assert min(red, green) > blue + 60  # yellow
    faint = provenance_map(np.full((240, 360, 3), 150, np.uint8), kinds * 0.002)
    assert np.ptp(faint[40].astype(int), axis=1).max() < 40  # what nobody sees is hardly tinted
    small = provenance_map(np.full((40, 40, 3), 150, np.uint8), kinds[:10, :10])
    assert np.ptp(small) <= 2  # no room for a legend


def test_the_map_is_blue_where_what_is_borrowed_cannot_be_confirmed() -> None:
    kinds = np.zeros((60, 90, 3), np.float32)
    kinds[..., BORROWED] = 0.2
    kinds[:, :30] = (0.0, 0.0, 0.2)  # guessed
    unconfirmed = np.zeros((60, 90), np.bool_)
    unconfirmed[:, 60:] = unconfirmed[:20, :30] = True
    gray = np.full((240, 360, 3), 150, np.uint8)
    picture = provenance_map(gray, kinds, unconfirmed).astype(int)
    guessed, borrowed, doubtful = (picture[40, x] for x in (60, 180, 300))
    assert guessed[0] > guessed[2] + 60  # where nothing is borrowed, nothing is to be confirmed
    assert borrowed[1] > borrowed[2] + 20  # green
    assert doubtful[2] > max(doubtful[0], doubtful[1]) + 60  # blue
    assert unconfirmed_share(kinds, unconfirmed) == pytest.approx(1 / 3, abs=1e-6)
    legend = picture[-60:, :60].reshape(-1, 3)
    assert (np.abs(legend - UNCONFIRMED).max(axis=1) == 0).sum() > 20
    none = provenance_map(gray, kinds, np.zeros_like(unconfirmed))
    np.testing.assert_array_equal(none, provenance_map(gray, kinds))
    assert not (none == UNCONFIRMED).all(axis=2).any()


# Linear RGB as people with no red, no green and no blue cones see it: Machado, Oliveira and
# Fernandes 2009, "A physiologically-based model for simulation of color vision deficiency"
VISIONS = {
    "all": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


@pytest.mark.parametrize("vision", VISIONS)
def test_the_unconfirmed_class_is_told_from_the_others_by_everyone(vision: str) -> None:
    def seen(tint: tuple[int, int, int]) -> Image:
        linear = (np.array(tint) / 255) ** 2.2
        shown = np.clip(np.array(VISIONS[vision]) @ linear, 0, 1) ** (1 / 2.2)
        return cv2.cvtColor(np.float32(shown)[None, None], cv2.COLOR_RGB2Lab)[0, 0]

    for tint in (*(tint for _, tint in TINTS), BOTH):
        assert np.linalg.norm(seen(UNCONFIRMED) - seen(tint)) > 25  # CIE Lab


def test_the_expected_gain_grows_with_what_is_explained_and_fades_with_its_error() -> None:
    shares = [0.0, 0.05, 0.3, 0.6, 1.0]
    gains = [expected_gain([GainFactors(share, 0.05, 1.0)]) for share in shares]
    assert gains[0] == 0
    assert gains == sorted(set(gains))
    assert gain_class(gains[0]) == "none"
    assert gain_class(gains[-1]) == "clear"
    assert expected_gain([GainFactors(0.5, 0.6, 1.0)]) < 0.6 * expected_gain(
        [GainFactors(0.5, 0.05, 1.0)]
    )
    assert expected_gain([GainFactors(0.5, 0.05, 0.4)]) < expected_gain(
        [GainFactors(0.5, 0.05, 1.0)]
    )
    assert expected_gain([GainFactors(0.5, 0.05, 4.0)]) == expected_gain(
        [GainFactors(0.5, 0.05, 1.0)]
    )
    halves = expected_gain([GainFactors(0.3, 0.05, 1.0), GainFactors(0.3, 0.05, 1.0)])
    assert halves == pytest.approx(expected_gain([GainFactors(0.6, 0.05, 1.0)]))
    assert [gain_class(g) for g in (-1, SMALL - 1e-6, SMALL, CLEAR)] == [
        "none",
        "none",
        "small",
        "clear",
    ]


def test_a_flat_photo_has_no_detail_to_explain() -> None:
    flat = np.full((20, 30, 3), 90, np.uint8)
    assert explained_share(flat, np.ones((40, 60), np.float32)) == 0.0


@pytest.mark.parametrize("split", ["training", "validation"])
def test_the_class_of_gain_is_foreseen_in_85_percent_of_the_pairs(split: str) -> None:
    """The tables hold what research/calibrate_gain.py measured with the shipped model."""
    with (BENCHMARKS / f"gain_{split}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = 0
    for row in rows:
        worth = GainFactors(*(float(row[name]) for name in ("share", "error", "zoom")))
        real = float(row["given"]) - float(row["none"])
        right += gain_class(expected_gain([worth])) == gain_class(real)
    assert len(rows) >= 50
    assert right >= 0.85 * len(rows)


@pytest.mark.parametrize(
    ("shares", "whole"),
    [
        ((0.335, 0.335, 0.33), (34, 33, 33)),
        ((0.005, 0.499, 0.496), (0, 50, 50)),
        ((0.2849, 0.2851, 0.43), (28, 29, 43)),
        ((1.0, 0.0, 0.0), (100, 0, 0)),
    ],
)
def test_percentages_sum_to_100(shares: tuple[float, ...], whole: tuple[int, ...]) -> None:
    """Rounded one by one, the first three sum to 101, 101 and 100."""
    assert tuple(percents(dict(zip("abc", shares, strict=True))).values()) == whole
