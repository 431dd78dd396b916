"""Drawing an ``Explanation``: a figure for print, and a heat map over the photo."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from refsr.arrays import Image, Pixels
from refsr.registration.warp import grid, warp_image
from refsr.report.explain import Explanation
from refsr.resize import SCALE, imresize

PANEL = 600  # pixels: height of every panel of the figure
MARGIN, GAP = 30, 24
TITLE, TEXT = 28, 22  # font sizes
VIEW = 40  # LR pixels a side of the crops of the input and the result
MIN_CROP = 40.0  # source pixels: least side of the enlarged crop
CROP_RATIO = 4.0  # its side over the samples' largest distance from the centre
DISC = 4.5  # radius of a sample in the enlarged crop, in pixels
DOT = 1.2  # the same in the whole reference, in pixels
VISIBLE = 0.01  # opacity above which a sample counts for the size of the enlarged crop
TOP = MARGIN + TITLE  # pixels above the panels
COLOR_BAR_WIDTH = 120
TEXT_COLOR, BACKGROUND, OUTSIDE = (25, 25, 25), (255, 255, 255), (235, 235, 235)
BORROWED, OWN = (255, 70, 30), (40, 150, 255)  # samples of the reference, and of the photo itself
MARK = (255, 225, 0)


@dataclass(frozen=True)
class View:
    """A crop of an image and its scale in the figure."""

    left: float  # edge, in source coordinates (pixel centres at integers)
    top: float
    scale: float  # drawn pixels per source pixel
    width: int  # drawn pixels
    height: int

    @staticmethod
    def square(image: Pixels, xy: Image, side: float) -> View:
        """A square of ``side`` source pixels around a point, moved into the image if it fits."""
        left, top = (
            min(max(float(centre) - side / 2, -0.5), max(-0.5, length - 0.5 - side))
            for centre, length in zip(xy, image.shape[1::-1], strict=True)
        )
        return View(left, top, PANEL / side, PANEL, PANEL)

    @staticmethod
    def whole(image: Pixels) -> View:
        """The whole image, as high as a panel, at most twice as wide."""
        height, width = image.shape[:2]
        scale = min(PANEL / height, 2 * PANEL / width)
        return View(-0.5, -0.5, scale, max(1, round(width * scale)), max(1, round(height * scale)))

    def to_panel(self, xy: Image) -> Image:
        """Convert points (..., 2) from source pixels to drawn pixels."""
        corner = np.array([self.left, self.top], np.float32)
        return ((xy - corner) * self.scale - 0.5).astype(np.float32)

    def draw(self, image: Pixels, smooth: bool) -> Pixels:
        """Draw the crop; outside the image it is light gray."""
        if self.scale < 1:  # shrinking needs an antialiasing filter, which warping lacks
            return imresize(image, size=(self.height, self.width))
        step = 1 / self.scale
        xy = grid(slice(0, self.height), slice(0, self.width), step)
        xy += np.array([self.left + 0.5, self.top + 0.5], np.float32)
        drawn = warp_image(image, xy, cv2.INTER_CUBIC if smooth else cv2.INTER_NEAREST)
        size = np.array([image.shape[1], image.shape[0]], np.float32)
        drawn[((xy < -0.5) | (xy >= size - 0.5)).any(axis=2)] = OUTSIDE
        return np.rint(np.clip(drawn, 0, 255)).astype(np.uint8)


def draw_figure(found: Explanation) -> Pixels:
    """Four panels side by side, RGB: input, reference, samples enlarged, result.

    The input is drawn without interpolation. Each sample is a disc with the product of its
    modulations as its opacity. The enlarged photo replaces the reference if there is none.
    """
    source, xy, identity = found.source, found.xy, found.xy_identity
    if source is None:
        source = imresize(found.lr, scale=float(SCALE))
        xy, identity = ((p + 0.5) * SCALE - 0.5 for p in (xy, identity))
    lr_xy = np.array([found.at[0] // SCALE, found.at[1] // SCALE], np.float32)
    sr_xy = (lr_xy + 0.5) * SCALE - 0.5 - np.array(found.sr_origin, np.float32)
    spread = float(np.abs(xy - identity)[found.strength > VISIBLE].max(initial=0))
    views = (
        View.square(found.lr, lr_xy, VIEW),
        View.whole(source),
        View.square(source, identity, max(MIN_CROP, CROP_RATIO * spread)),
        View.square(found.sr, sr_xy, VIEW * SCALE),
    )
    images = (found.lr, source, source, found.sr)
    panels = [
        view.draw(image, smooth=image is not found.lr)
        for view, image in zip(views, images, strict=True)
    ]
    colors = np.where(found.borrowed[:, None] | (found.source is None), BORROWED, OWN)
    order = np.argsort(found.strength, kind="stable")  # the strongest are drawn last, on top
    for index, radius in ((1, DOT), (2, DISC)):
        points = views[index].to_panel(xy)[order]
        draw_discs(panels[index], points, radius, colors[order], found.strength[order])
    draw_cross(panels[2], views[2].to_panel(identity))
    name = "Reference" if found.source is not None else "Input, its own reference"
    own = "Input, corrected" if found.corrected else "Input"
    titles = [own, name, f"Samples, x{views[2].scale:.1f}", "Result"]
    canvas, corners = lay_out(panels, titles)
    pen = PIL.ImageDraw.Draw(canvas)
    for index, point in ((0, lr_xy), (3, sr_xy)):
        draw_frame(pen, views[index].to_panel(point) + corners[index], PANEL / VIEW / 2)
    draw_zoom_lines(pen, views[1], corners[1], views[2], corners[2])
    draw_caption(pen, canvas.height, found)
    return np.asarray(canvas)


def draw_zoom_lines(
    pen: PIL.ImageDraw.ImageDraw, whole: View, corner: Image, near: View, near_corner: Image
) -> None:
    """Frame in one panel the crop that the next one enlarges, and join the two by lines."""
    side = near.width / near.scale
    centre = np.array([near.left + side / 2, near.top + side / 2], np.float32)
    middle = whole.to_panel(centre) + corner
    half = max(4.0, side * whole.scale / 2)
    for sign in (-1, 1):
        start = (float(middle[0]) + half, float(middle[1]) + sign * half)
        end = (float(near_corner[0]), float(near_corner[1]) + (PANEL - 1) * (1 + sign) / 2)
        pen.line([start, end], MARK, 2)
    draw_frame(pen, middle, half)


def draw_discs(panel: Pixels, xy: Image, radius: float, colors: Pixels, opacity: Image) -> None:
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


def draw_cross(panel: Pixels, xy: Image) -> None:
    """Mark the pixel itself by a cross with a dark outline; ``xy`` in drawn pixels."""
    picture = PIL.Image.fromarray(panel)
    pen = PIL.ImageDraw.Draw(picture)
    x, y = (float(v) for v in xy)
    for reach, width, color in ((15, 7, TEXT_COLOR), (14, 3, MARK)):
        pen.line([(x - reach, y), (x + reach, y)], color, width)
        pen.line([(x, y - reach), (x, y + reach)], color, width)
    panel[:] = np.asarray(picture)


def draw_frame(pen: PIL.ImageDraw.ImageDraw, xy: Image, half: float) -> None:
    """A bright square with a dark outline, visible on any photo, around ``xy``."""
    x, y = (float(v) for v in xy)
    for grow, color, width in ((4, TEXT_COLOR, 6), (3, MARK, 3)):
        reach = half + grow
        pen.rectangle([x - reach, y - reach, x + reach, y + reach], outline=color, width=width)


def lay_out(panels: list[Pixels], titles: list[str]) -> tuple[PIL.Image.Image, list[Image]]:
    """Panels in a row below their titles: the canvas, and each panel's top left pixel x, y."""
    widths = [panel.shape[1] for panel in panels]
    total = 2 * MARGIN + sum(widths) + GAP * (len(panels) - 1)
    canvas = PIL.Image.new("RGB", (total, TOP + PANEL + 3 * TEXT + MARGIN + GAP), BACKGROUND)
    pen = PIL.ImageDraw.Draw(canvas)
    corners: list[Image] = []
    left = MARGIN
    for panel, title in zip(panels, titles, strict=True):
        top = TOP + (PANEL - panel.shape[0]) // 2
        canvas.paste(PIL.Image.fromarray(panel), (left, top))
        pen.text((left, MARGIN // 2), title, TEXT_COLOR, load_font(TITLE))
        corners.append(np.array([left, top], np.float32))
        left += panel.shape[1] + GAP
    return canvas, corners


def draw_caption(pen: PIL.ImageDraw.ImageDraw, height: int, found: Explanation) -> None:
    """Two lines below the panels: what the marks mean, with a color bar of the opacity."""
    y, x = height - MARGIN - 2 * TEXT, float(MARGIN)
    words = f"Pixel {found.at[0]},{found.at[1]}: {len(found.strength)} samples of {found.layers} "
    words += "deformable layers. Opacity: product of the modulations, 0"
    pen.text((x, y), words, TEXT_COLOR, load_font(TEXT))
    x += pen.textlength(words, load_font(TEXT)) + 10
    for step in range(COLOR_BAR_WIDTH):
        share = step / (COLOR_BAR_WIDTH - 1)
        tone = tuple(round(255 + share * (c - 255)) for c in BORROWED)
        pen.line([(x + step, y + 2), (x + step, y + TEXT)], tone)
    pen.text((x + COLOR_BAR_WIDTH + 10, y), "1.", TEXT_COLOR, load_font(TEXT))
    words = "Cross: the pixel itself, whose feature the residual layers always pass on."
    if found.source is not None and not found.borrowed.all():
        words += " Blue: the reference is not valid there; the photo is sampled instead."
    pen.text((MARGIN, y + 3 * TEXT // 2), words, TEXT_COLOR, load_font(TEXT))


def draw_heat(photo: Pixels, heat: Image, validity: Image | None) -> Pixels:
    """The modulation map ``heat`` (h, w) 0..1 as colors over ``photo`` (h, w, 3): RGB, 4x larger.

    The color bar below goes from 0 to the 99.5th percentile. Where the reference is not valid
    (``validity`` (h, w) 0..1; None: valid everywhere) the photo stays gray.
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
    return np.vstack([picture, draw_color_bar(width, top, validity is not None)])


def draw_color_bar(width: int, top: float, masked: bool) -> Pixels:
    """The color bar below the map, from 0 to ``top``, with its label."""
    size = max(10, min(TEXT, width // 40))
    canvas = PIL.Image.new("RGB", (width, 2 * size), BACKGROUND)
    pen = PIL.ImageDraw.Draw(canvas)
    ramp = np.rint(np.linspace(0, 255, max(2, width // 6))).astype(np.uint8)
    colors = cv2.applyColorMap(np.tile(ramp, (size, 1)), cv2.COLORMAP_INFERNO)[..., ::-1]
    words = f"{top:.2f}   modulation, product of the layers"
    words += "; gray: no valid reference" if masked else ""
    x, y = size // 2, size // 2 - 2
    pen.text((x, y), "0", TEXT_COLOR, load_font(size))
    canvas.paste(PIL.Image.fromarray(np.ascontiguousarray(colors)), (x + size, size // 2))
    pen.text((x + 2 * size - size // 2 + len(ramp), y), words, TEXT_COLOR, load_font(size))
    return np.asarray(canvas)


def load_font(size: int) -> PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont:
    """Pillow's own font: the same on every machine."""
    return PIL.ImageFont.load_default(size)
