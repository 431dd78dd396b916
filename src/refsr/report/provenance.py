"""What the result is made of, place by place: the photo's own detail, borrowed, and guessed.

*Own* is what the photo itself holds at its finest; *borrowed* what the network handed over from an
aligned reference; *guessed* whatever else it drew that the photo cannot hold: the part of the
bicubic photo's change that shrinking by four takes away again. All are mean absolute amounts.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.registration.detail_transfer import fine_detail
from refsr.registration.warp import BAND_ROWS, grid, sample
from refsr.resize import SCALE, imresize

LEAST = 0.5 / 255  # below half a level there is no detail to speak of

OWN, BORROWED, GUESSED = 0, 1, 2  # planes of the amounts and shares
TINTS = (  # Okabe and Ito's colors: told apart whatever one's eyes
    ("own", (128, 128, 128)),
    ("borrowed", (0, 158, 115)),
    ("guessed", (213, 94, 0)),
)
BOTH = (240, 228, 66)  # between borrowed and guessed; their mean would be olive, which is no answer
WORDS = {  # of the legend, for one who sees only the map
    "own": "the photo's own",
    "borrowed": "from references",
    "guessed": "guessed",
}
STRENGTH = 0.75  # of the tint where all detail is of one kind
BOOST = 1.8  # a place whose detail is new by half is tinted as if nearly all of it were
SEEN = 2.0 / 255  # new detail of this amount has half of its tint: a plain sky stays gray
LEGEND_WIDTH, LEGEND_HEIGHT = 240, 120  # HR pixels: smaller pictures carry no legend


def detail_amounts(sr: Image, gate: Image, ref: Image, lr: Image) -> Image:
    """Own, borrowed and guessed detail around each LR pixel: (h, w, 3), mean absolute, 0..1.

    ``sr`` (4h, 4w, 3) is what the network made of ``lr`` (h, w, 3) and the aligned reference
    ``ref`` (4h, 4w, 3), of which its ``gate`` (4h, 4w) let detail through. What the deformable
    path brings in from the reference counts as guessed: the amounts understate what is borrowed.
    """
    base = imresize(lr, scale=float(SCALE))
    given = fine_detail((ref - base) * gate[..., None]) if gate.any() else np.zeros_like(base)
    return amounts_from_detail(lr, given, fine_detail(sr - base) - given)


def amounts_from_detail(lr: Image, given: Image, drawn: Image) -> Image:
    """``detail_amounts`` from the fine detail (4h, 4w, 3) that was borrowed and that was drawn."""
    height, width = lr.shape[:2]
    own = np.abs(lr - cv2.GaussianBlur(lr, (0, 0), 1.0))
    parts = [own] + [
        cv2.resize(np.abs(part), (width, height), interpolation=cv2.INTER_AREA)  # 4 x 4 means
        for part in (given, drawn)
    ]
    means = [cv2.blur(part.mean(axis=2), (3, 3)) for part in parts]
    return np.stack(means, axis=2).astype(np.float32)


def borrowed_share(amounts: Image) -> Image:
    """Of the detail that the photo cannot hold, the share that was borrowed: (h, w) 0..1."""
    new = amounts[..., BORROWED] + amounts[..., GUESSED]
    return (amounts[..., BORROWED] / (new + np.float32(LEAST))).astype(np.float32)


def detail_shares(amounts: Image) -> Image:
    """The three kinds' shares of all detail, from their amounts: (h, w, 3), summing to one.

    Where there is no detail of any kind, all of it is the photo's own.
    """
    total = amounts.sum(axis=2, keepdims=True) + np.float32(LEAST)
    shares = amounts / total
    shares[..., OWN] = 1 - shares[..., BORROWED] - shares[..., GUESSED]
    return shares.astype(np.float32)


def overall_shares(amounts: Image) -> dict[str, float]:
    """The three kinds' shares of all detail in the whole result, by name."""
    total = amounts.reshape(-1, 3).sum(axis=0, dtype=np.float64)
    total[OWN] += 1e-9  # a flat photo is wholly its own
    return {
        name: round(float(part), 4)
        for (name, _), part in zip(TINTS, total / total.sum(), strict=True)
    }


def tints(amounts: Image) -> Image:
    """The map's color and how strongly it shows: (h, w, 4), RGB and alpha, 0..1 float32.

    Green through yellow to orange-red says how much of the new detail was borrowed, alpha how much
    new detail there is beside the photo's own. ``amounts`` (h, w, 3) as of ``detail_amounts``.
    """
    new = amounts[..., BORROWED] + amounts[..., GUESSED]
    share = new / (amounts.sum(axis=2) + np.float32(LEAST))
    alpha = np.minimum(1, BOOST * share) * new / (new + np.float32(SEEN))
    guessed = amounts[..., GUESSED] / np.maximum(new, np.float32(1e-6))
    stops = np.array([TINTS[BORROWED][1], BOTH, TINTS[GUESSED][1]]) / 255
    color = [np.interp(guessed, (0.0, 0.5, 1.0), stops[:, plane]) for plane in range(3)]
    return np.stack([*color, alpha], axis=2).astype(np.float32)


def provenance_map(sr: NDArray[np.uint8], amounts: Image) -> NDArray[np.uint8]:
    """The result in gray, green where its detail is borrowed, orange where guessed: as ``sr``.

    ``sr`` (H, W, 3) RGB uint8, the photo two to four times larger; ``amounts`` (h, w, 3) from
    ``detail_amounts``. A legend with the overall shares stands in the bottom left corner, unless
    the picture is too small for it.
    """
    height, width = sr.shape[:2]
    tinted = tints(amounts)
    out = np.empty_like(sr)
    for top in range(0, height, BAND_ROWS):  # a large picture as floats would fill the memory
        rows = slice(top, min(height, top + BAND_ROWS))
        here = sample(tinted, grid(rows, slice(0, width), amounts.shape[1] / width))
        gray = cv2.cvtColor(sr[rows], cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None]
        tint = here[..., :3] * (0.35 * 255 + 0.65 * gray)
        picture = gray + STRENGTH * here[..., 3:] * (tint - gray)
        out[rows] = np.clip(picture + 0.5, 0, 255).astype(np.uint8)
    if width >= LEGEND_WIDTH and height >= LEGEND_HEIGHT:
        draw_legend(out, overall_shares(amounts))
    return out


def draw_legend(picture: NDArray[np.uint8], shares: dict[str, float]) -> None:
    """Name the tints, with their shares, in the bottom left corner of ``picture`` (H, W, 3)."""
    height, width = picture.shape[:2]
    size = float(np.clip(min(height, width) / 900, 0.45, 2.0))
    line = round(30 * size)
    rows = [(f"{WORDS[name]} {100 * shares[name]:.0f} %", tint) for name, tint in TINTS]
    rows.insert(2, ("some of both", BOTH))
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
