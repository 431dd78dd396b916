"""Where the result's detail comes from, per LR pixel: the photo itself, the references, a guess.

*Own* is the photo's finest band; *borrowed* the high frequencies that the network's gate took from
the aligned reference; *guessed* all other high frequencies of the result. High frequencies are
those that shrinking by four removes. All are mean absolute amounts.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.registration.detail_transfer import fine_detail
from refsr.registration.warp import BAND_ROWS, grid, sample
from refsr.resize import SCALE, imresize

MIN_DETAIL = 0.5 / 255  # half a level: added to denominators, so that noise is not counted

OWN, BORROWED, GUESSED = 0, 1, 2  # planes of the amounts and shares
TINTS = (  # from Okabe and Ito's palette, safe for color-blind readers
    ("own", (128, 128, 128)),
    ("borrowed", (0, 158, 115)),
    ("guessed", (213, 94, 0)),
)
BOTH = (240, 228, 66)  # half borrowed, half guessed; their mean would be olive
# Borrowed where the photo cannot confirm it. Their blue is too near the green in tritanopia (16 in
# CIE Lab; this one 31, and 86 or more in the other three kinds of vision).
UNCONFIRMED = (0, 70, 200)
WORDS = {  # of the legend
    "own": "the photo's own",
    "borrowed": "from references",
    "guessed": "guessed",
    "unconfirmed": "borrowed, unconfirmed",
}
STRENGTH = 0.75  # of the tint at alpha 1
BOOST = 1.8  # of the share of new detail in alpha: at one half it is nearly opaque
HALF_TINT = 2.0 / 255  # amount of new detail that halves alpha: a plain sky stays gray
LEGEND_WIDTH, LEGEND_HEIGHT = 240, 120  # HR pixels: smaller pictures have no legend


def detail_amounts(sr: Image, gate: Image, ref: Image, lr: Image) -> Image:
    """Own, borrowed and guessed detail around each LR pixel: (h, w, 3), mean absolute, 0..1.

    ``sr`` (4h, 4w, 3) is the network's output for ``lr`` (h, w, 3) and the aligned reference
    ``ref`` (4h, 4w, 3), with its ``gate`` (4h, 4w). What comes from the reference through the
    deformable layers counts as guessed: the amounts understate what is borrowed.
    """
    base = imresize(lr, scale=float(SCALE))
    borrowed = fine_detail((ref - base) * gate[..., None]) if gate.any() else np.zeros_like(base)
    return amounts_from_detail(lr, borrowed, fine_detail(sr - base) - borrowed)


def amounts_from_detail(lr: Image, borrowed: Image, guessed: Image) -> Image:
    """``detail_amounts`` from the borrowed and the guessed detail, (4h, 4w, 3) each."""
    height, width = lr.shape[:2]
    own = np.abs(lr - cv2.GaussianBlur(lr, (0, 0), 1.0))
    parts = [own] + [
        cv2.resize(np.abs(part), (width, height), interpolation=cv2.INTER_AREA)  # 4 x 4 means
        for part in (borrowed, guessed)
    ]
    means = [cv2.blur(part.mean(axis=2), (3, 3)) for part in parts]
    return np.stack(means, axis=2).astype(np.float32)


def with_own_detail(amounts: Image, share: Image, own: Image) -> Image:
    """The amounts where ``share`` (h, w) of the result's detail gave way to the photo's ``own``."""
    changed = amounts * (1 - share[..., None])
    changed[..., OWN] += own
    return changed


def borrowed_share(amounts: Image) -> Image:
    """Borrowed detail over borrowed and guessed detail, from the amounts: (h, w) 0..1."""
    new = amounts[..., BORROWED] + amounts[..., GUESSED]
    return (amounts[..., BORROWED] / (new + np.float32(MIN_DETAIL))).astype(np.float32)


def detail_shares(amounts: Image) -> Image:
    """The shares of own, borrowed and guessed detail, from the amounts: (h, w, 3), summing to one.

    Where there is no detail, the own share is one.
    """
    total = amounts.sum(axis=2, keepdims=True) + np.float32(MIN_DETAIL)
    shares = amounts / total
    shares[..., OWN] = 1 - shares[..., BORROWED] - shares[..., GUESSED]
    return shares.astype(np.float32)


def overall_shares(amounts: Image) -> dict[str, float]:
    """The shares of own, borrowed and guessed detail in the whole result, by name."""
    total = amounts.reshape(-1, 3).sum(axis=0, dtype=np.float64)
    total[OWN] += 1e-9  # a flat photo is all "own"
    return {
        name: round(float(part), 4)
        for (name, _), part in zip(TINTS, total / total.sum(), strict=True)
    }


def map_colors() -> dict[str, tuple[int, int, int]]:
    """The colors of the map by what they stand for, RGB: for a legend beside it."""
    return {**dict(TINTS), "both": BOTH, "unconfirmed": UNCONFIRMED}


def percents(shares: dict[str, float]) -> dict[str, int]:
    """Whole percents of shares that sum to one: they sum to 100, by the largest remainders."""
    whole = {name: int(100 * share + 1e-9) for name, share in shares.items()}
    left = 100 - sum(whole.values())
    by_rest = sorted(shares, key=lambda name: whole[name] - 100 * shares[name])
    return {name: one + (name in by_rest[:left]) for name, one in whole.items()}


def tints(amounts: Image, unconfirmed: NDArray[np.bool_] | None = None) -> Image:
    """The map's color: (h, w, 4), RGB and alpha, 0..1 float32.

    Green through yellow to orange-red is the borrowed share of the new detail, alpha the amount of
    new detail relative to the photo's own. ``amounts`` (h, w, 3) as of ``detail_amounts``. Blue to
    orange-red are places that are ``unconfirmed`` (h, w) by the photo.
    """
    new = amounts[..., BORROWED] + amounts[..., GUESSED]
    share = new / (amounts.sum(axis=2) + np.float32(MIN_DETAIL))
    alpha = np.minimum(1, BOOST * share) * new / (new + np.float32(HALF_TINT))
    guessed = amounts[..., GUESSED] / np.maximum(new, np.float32(1e-6))
    stops = np.array([TINTS[BORROWED][1], BOTH, TINTS[GUESSED][1]]) / 255
    color = [np.interp(guessed, (0.0, 0.5, 1.0), stops[:, plane]) for plane in range(3)]
    tinted = np.stack([*color, alpha], axis=2).astype(np.float32)
    if unconfirmed is not None and unconfirmed.any():
        blue, red = np.array([UNCONFIRMED, TINTS[GUESSED][1]], np.float32) / 255
        share = np.clip(2 * guessed[unconfirmed] - 1, 0, 1)[:, None]  # blue to one half
        tinted[unconfirmed, :3] = blue + share * (red - blue)
    return tinted


def provenance_map(
    sr: NDArray[np.uint8], amounts: Image, unconfirmed: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """The result in gray, tinted green where its detail is borrowed and orange where guessed.

    ``sr`` (H, W, 3) RGB uint8, as large as the photo or up to four times larger; ``amounts``
    (h, w, 3) from ``detail_amounts``; blue where borrowed and ``unconfirmed`` (h, w). Returns the
    size of ``sr``. A legend with the overall shares is drawn in the bottom left corner, unless the
    picture is too small for it.
    """
    height, width = sr.shape[:2]
    tinted = tints(amounts, unconfirmed)
    out = np.empty_like(sr)
    for top in range(0, height, BAND_ROWS):  # bounds the memory of the float copies
        rows = slice(top, min(height, top + BAND_ROWS))
        rgba = sample(tinted, grid(rows, slice(0, width), amounts.shape[1] / width))
        gray = cv2.cvtColor(sr[rows], cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None]
        tint = rgba[..., :3] * (0.35 * 255 + 0.65 * gray)
        picture = gray + STRENGTH * rgba[..., 3:] * (tint - gray)
        out[rows] = np.clip(picture + 0.5, 0, 255).astype(np.uint8)
    if width >= LEGEND_WIDTH and height >= LEGEND_HEIGHT:
        draw_legend(out, overall_shares(amounts), unconfirmed_share(amounts, unconfirmed))
    return out


def taken_unconfirmed(amounts: Image, unconfirmed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where most of the new detail is borrowed and it is ``unconfirmed``: (h, w), as is that."""
    return unconfirmed & (borrowed_share(amounts) > 0.5)


def unconfirmed_share(amounts: Image, unconfirmed: NDArray[np.bool_] | None) -> float:
    """The share of all detail that is borrowed where it is ``unconfirmed`` (h, w)."""
    if unconfirmed is None:
        return 0.0
    borrowed = amounts[..., BORROWED][unconfirmed].sum(dtype=np.float64)
    return float(borrowed / max(amounts.sum(dtype=np.float64), 1e-9))


def draw_legend(
    picture: NDArray[np.uint8], shares: dict[str, float], unconfirmed: float = 0.0
) -> None:
    """Draw the legend with the overall shares into ``picture`` (H, W, 3), bottom left.

    ``unconfirmed``: the part of the borrowed share that has a row of its own.
    """
    height, width = picture.shape[:2]
    size = float(np.clip(min(height, width) / 900, 0.45, 2.0))
    line = round(30 * size)
    shares = shares | {"borrowed": shares["borrowed"] - unconfirmed, "unconfirmed": unconfirmed}
    kinds = [*TINTS]
    if unconfirmed > 0:
        kinds.insert(GUESSED, ("unconfirmed", UNCONFIRMED))
    whole = percents({name: shares[name] for name, _ in kinds})
    rows = [(f"{WORDS[name]} {whole[name]} %", tint) for name, tint in kinds]
    rows.insert(-1, ("some of both", BOTH))
    font = cv2.FONT_HERSHEY_SIMPLEX
    thick = max(1, round(1.6 * size))
    longest = max(cv2.getTextSize(text, font, size, thick)[0][0] for text, _ in rows)
    top, right = height - line * len(rows) - line // 2, longest + 2 * line
    picture[top:, :right] = 24
    for row, (text, tint) in enumerate(rows):
        y = top + line // 4 + row * line
        corner = (line // 3, y + line // 8)
        cv2.rectangle(picture, corner, (line, y + line - line // 8), tint, -1)
        place = (line + line // 2, y + round(0.72 * line))
        cv2.putText(picture, text, place, font, size, (255, 255, 255), thick, cv2.LINE_AA)
