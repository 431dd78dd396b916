"""Drawing what ``explain`` found: a figure for print, and a heat map over the photo."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from refsr.arrays import Image, Pixels
from refsr.registration.warp import grid, render
from refsr.report.explain import Explanation
from refsr.resize import SCALE, imresize

PANEL = 600  # pixels: height of every picture in the figure
MARGIN, GAP = 30, 24
TITLE, TEXT = 28, 22  # sizes of the letters
VIEW = 40  # LR pixels a side of the input's and the output's crop
CLOSEST = 40.0  # source pixels: the enlarged part is never smaller than this
ROOM = 4.0  # its side, of the samples' largest distance from the middle
DISC = 4.5  # radius of a sample in the enlarged part, in pixels
DOT = 1.2  # the same in the whole reference, in pixels
VISIBLE = 0.01  # opacity from which a sample counts for how much is shown
TOP = MARGIN + TITLE  # above the pictures
SCALE_WIDTH = 120  # of the scale of opacity
INK, PAPER, OUTSIDE = (25, 25, 25), (255, 255, 255), (235, 235, 235)
BORROWED, OWN = (255, 70, 30), (40, 150, 255)  # samples on the reference, and on its stand-in
MARK = (255, 225, 0)


@dataclass(frozen=True)
class View:
    """A rectangle of an image, as it is shown: source pixel (x, y) is drawn at ``place(x, y)``."""

    left: float  # edge, in source coordinates (pixel centres at integers)
    top: float
    scale: float  # drawn pixels per source pixel
    width: int  # drawn pixels
    height: int

    @staticmethod
    def square(image: Pixels, xy: Image, side: float) -> View:
        """The square of ``side`` source pixels around a place, inside the image where it fits."""
        left, top = (
            min(max(float(place) - side / 2, -0.5), max(-0.5, length - 0.5 - side))
            for place, length in zip(xy, image.shape[1::-1], strict=True)
        )
        return View(left, top, PANEL / side, PANEL, PANEL)

    @staticmethod
    def whole(image: Pixels) -> View:
        """All of an image, as high as a panel, at most twice as wide."""
        height, width = image.shape[:2]
        scale = min(PANEL / height, 2 * PANEL / width)
        return View(-0.5, -0.5, scale, max(1, round(width * scale)), max(1, round(height * scale)))

    def place(self, xy: Image) -> Image:
        """Where places (..., 2) of the source are drawn, in drawn pixels."""
        corner = np.array([self.left, self.top], np.float32)
        return ((xy - corner) * self.scale - 0.5).astype(np.float32)

    def show(self, image: Pixels, smooth: bool) -> Pixels:
        """Draw the rectangle; what lies outside the image is light gray."""
        if self.scale < 1:  # shrinking needs a filter that warping has not
            return imresize(image, size=(self.height, self.width))
        step = 1 / self.scale
        xy = grid(slice(0, self.height), slice(0, self.width), step)
        xy += np.array([self.left + 0.5, self.top + 0.5], np.float32)
        drawn = render(image, xy, cv2.INTER_CUBIC if smooth else cv2.INTER_NEAREST)
        size = np.array([image.shape[1], image.shape[0]], np.float32)
        drawn[((xy < -0.5) | (xy >= size - 0.5)).any(axis=2)] = OUTSIDE
        return np.rint(np.clip(drawn, 0, 255)).astype(np.uint8)


def draw_figure(found: Explanation) -> Pixels:
    """Four pictures side by side, RGB: input, reference, samples enlarged, result.

    The input is drawn with its own pixels. Each sample is a disc as opaque as the product of its
    modulations; where the photo is its own reference, it takes the reference's place.
    """
    source, xy, identity = found.source, found.xy, found.xy_identity
    if source is None:  # the network is shown the enlarged photo: so are we
        source = imresize(found.lr, scale=float(SCALE))
        xy, identity = ((p + 0.5) * SCALE - 0.5 for p in (xy, identity))
    lr_xy = np.array([found.at[0] // SCALE, found.at[1] // SCALE], np.float32)
    sr_xy = (lr_xy + 0.5) * SCALE - 0.5 - np.array(found.sr_origin, np.float32)
    spread = float(np.abs(xy - identity)[found.strength > VISIBLE].max(initial=0))
    views = (
        View.square(found.lr, lr_xy, VIEW),
        View.whole(source),
        View.square(source, identity, max(CLOSEST, ROOM * spread)),
        View.square(found.sr, sr_xy, VIEW * SCALE),
    )
    images = (found.lr, source, source, found.sr)
    panels = [
        view.show(image, smooth=image is not found.lr)
        for view, image in zip(views, images, strict=True)
    ]
    colors = np.where(found.borrowed[:, None] | (found.source is None), BORROWED, OWN)
    order = np.argsort(found.strength, kind="stable")  # the strongest are drawn last, on top
    for index, radius in ((1, DOT), (2, DISC)):
        places = views[index].place(xy)[order]
        stamp(panels[index], places, radius, colors[order], found.strength[order])
    cross(panels[2], views[2].place(identity))
    name = "Reference" if found.source is not None else "Input, its own reference"
    titles = ["Input", name, f"Samples, x{views[2].scale:.1f}", "Result"]
    canvas, corners = lay_out(panels, titles)
    pen = PIL.ImageDraw.Draw(canvas)
    for index, place in ((0, lr_xy), (3, sr_xy)):
        frame(pen, views[index].place(place) + corners[index], PANEL / VIEW / 2)
    enlarge(pen, views[1], corners[1], views[2], corners[2])
    caption(pen, canvas.height, found)
    return np.asarray(canvas)


def enlarge(
    pen: PIL.ImageDraw.ImageDraw, whole: View, corner: Image, near: View, near_corner: Image
) -> None:
    """Frame in the one picture what the next one enlarges, and join the two by lines."""
    side = near.width / near.scale
    middle = whole.place(np.array([near.left + side / 2, near.top + side / 2], np.float32)) + corner
    half = max(4.0, side * whole.scale / 2)
    for sign in (-1, 1):
        start = (float(middle[0]) + half, float(middle[1]) + sign * half)
        end = (float(near_corner[0]), float(near_corner[1]) + (PANEL - 1) * (1 + sign) / 2)
        pen.line([start, end], MARK, 2)
    frame(pen, middle, half)


def stamp(panel: Pixels, xy: Image, radius: float, colors: Pixels, opacity: Image) -> None:
    """Draw antialiased discs (N, 2) into ``panel`` (H, W, 3), one over the other."""
    height, width = panel.shape[:2]
    reach = int(np.ceil(radius)) + 1
    for (x, y), color, alpha in zip(xy, colors, opacity, strict=True):
        left, top = int(np.floor(x)) - reach, int(np.floor(y)) - reach
        rows = np.arange(max(0, top), min(height, top + 2 * reach + 2))
        cols = np.arange(max(0, left), min(width, left + 2 * reach + 2))
        if not (len(rows) and len(cols)):
            continue
        distance = np.hypot(cols[None] - x, rows[:, None] - y)
        cover = alpha * np.clip(radius + 0.5 - distance, 0, 1)[..., None]
        area = panel[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        area[:] = np.rint(area * (1 - cover) + color * cover)


def cross(panel: Pixels, xy: Image) -> None:
    """Mark the identity path: a cross with a dark rim, at a place in drawn pixels."""
    picture = PIL.Image.fromarray(panel)
    pen = PIL.ImageDraw.Draw(picture)
    x, y = (float(v) for v in xy)
    for reach, width, color in ((15, 7, INK), (14, 3, MARK)):
        pen.line([(x - reach, y), (x + reach, y)], color, width)
        pen.line([(x, y - reach), (x, y + reach)], color, width)
    panel[:] = np.asarray(picture)


def frame(pen: PIL.ImageDraw.ImageDraw, xy: Image, half: float) -> None:
    """A square around a place, bright within a dark rim: seen on every photo."""
    x, y = (float(v) for v in xy)
    for grow, color, width in ((4, INK, 6), (3, MARK, 3)):
        reach = half + grow
        pen.rectangle([x - reach, y - reach, x + reach, y + reach], outline=color, width=width)


def lay_out(panels: list[Pixels], titles: list[str]) -> tuple[PIL.Image.Image, list[Image]]:
    """Panels in a row under their titles; returns the canvas and each panel's first pixel."""
    widths = [panel.shape[1] for panel in panels]
    total = 2 * MARGIN + sum(widths) + GAP * (len(panels) - 1)
    canvas = PIL.Image.new("RGB", (total, TOP + PANEL + 3 * TEXT + MARGIN + GAP), PAPER)
    pen = PIL.ImageDraw.Draw(canvas)
    corners: list[Image] = []
    left = MARGIN
    for panel, title in zip(panels, titles, strict=True):
        top = TOP + (PANEL - panel.shape[0]) // 2
        canvas.paste(PIL.Image.fromarray(panel), (left, top))
        pen.text((left, MARGIN // 2), title, INK, letters(TITLE))
        corners.append(np.array([left, top], np.float32))
        left += panel.shape[1] + GAP
    return canvas, corners


def caption(pen: PIL.ImageDraw.ImageDraw, height: int, found: Explanation) -> None:
    """What the marks mean, with a scale of opacity: two lines at the foot of the figure."""
    y, x = height - MARGIN - 2 * TEXT, float(MARGIN)
    words = f"Pixel {found.at[0]},{found.at[1]}: {len(found.strength)} samples of {found.layers} "
    words += "deformable layers. Opacity: product of the modulations, 0"
    pen.text((x, y), words, INK, letters(TEXT))
    x += pen.textlength(words, letters(TEXT)) + 10
    for step in range(SCALE_WIDTH):
        share = step / (SCALE_WIDTH - 1)
        tone = tuple(round(255 + share * (c - 255)) for c in BORROWED)
        pen.line([(x + step, y + 2), (x + step, y + TEXT)], tone)
    pen.text((x + SCALE_WIDTH + 10, y), "1.", INK, letters(TEXT))
    words = "Cross: the pixel's own place, which the residual layers always pass on."
    if found.source is not None and not found.borrowed.all():
        words += " Blue: not valid there, the photo stands in."
    pen.text((MARGIN, y + 3 * TEXT // 2), words, INK, letters(TEXT))


def draw_heat(photo: Pixels, heat: Image, validity: Image | None) -> Pixels:
    """The modulation ``heat`` (h, w) 0..1 in colors over ``photo`` (h, w, 3): RGB, 4 times larger.

    The scale below goes from 0 to the 99.5th percentile. Where the reference is not valid
    (``validity`` (h, w) 0..1; None: everywhere valid) the photo stays gray.
    """
    height, width = photo.shape[0] * SCALE, photo.shape[1] * SCALE
    top = max(float(np.percentile(heat, 99.5)), 1e-6)
    share = cv2.resize(np.clip(heat / top, 0, 1), (width, height), interpolation=cv2.INTER_LINEAR)
    hue = cv2.applyColorMap(np.rint(255 * share).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    gray = cv2.cvtColor(imresize(photo, scale=float(SCALE)), cv2.COLOR_RGB2GRAY)[..., None]
    gray = gray.astype(np.float32)
    shade = 0.6 + 0.4 * gray / 255
    valid = np.ones((height, width, 1), np.float32)
    if validity is not None:
        valid = cv2.resize(validity, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
    picture = np.rint(valid * hue * shade + (1 - valid) * (80 + gray / 2)).astype(np.uint8)
    return np.vstack([picture, heat_scale(width, top, validity is not None)])


def heat_scale(width: int, top: float, masked: bool) -> Pixels:
    """The strip below the map: its colors from 0 to ``top``, and what they mean."""
    size = max(10, min(TEXT, width // 40))
    canvas = PIL.Image.new("RGB", (width, 2 * size), PAPER)
    pen = PIL.ImageDraw.Draw(canvas)
    ramp = np.rint(np.linspace(0, 255, max(2, width // 6))).astype(np.uint8)
    colors = cv2.applyColorMap(np.tile(ramp, (size, 1)), cv2.COLORMAP_INFERNO)[..., ::-1]
    words = f"{top:.2f}   modulation, product of the layers"
    words += "; gray: no valid reference" if masked else ""
    x, y = size // 2, size // 2 - 2
    pen.text((x, y), "0", INK, letters(size))
    canvas.paste(PIL.Image.fromarray(np.ascontiguousarray(colors)), (x + size, size // 2))
    pen.text((x + 2 * size - size // 2 + len(ramp), y), words, INK, letters(size))
    return np.asarray(canvas)


def letters(size: int) -> PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont:
    """Pillow's own typeface: the same on every machine."""
    return PIL.ImageFont.load_default(size)
