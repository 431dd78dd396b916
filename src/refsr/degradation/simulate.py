"""Simulated small photos of many kinds: what stands between a large photo and its small version.

The field shrinks by MATLAB's bicubic and nothing else. Photos as people have them were blurred by
a lens or by motion, shrunk by other programs, sharpened, noisy, and compressed. Every kind here is
deterministic: noise depends on its seed alone.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image as PillowImage

from refsr.arrays import Image, Pixels
from refsr.errors import DataError
from refsr.resize import SCALE, imresize

MAX_QUOTED = 40  # characters of a kind that an error quotes
STEPS_PER_PIXEL = 16  # at which the path of a moving camera is sampled
SHARPENING_SIGMA = 1.0  # LR px, of every unsharp mask
MATLAB = "MATLAB-compatible antialiased bicubic (a = -0.5)"

Kernel = Image  # (n, n) float32, n odd, its sum 1
LowRes = Pixels | bytes  # a small photo: its pixels, or a JPEG file of them


@dataclass(frozen=True)
class PhotoKind:
    """How a small photo is made: a key of KINDS and its parameters."""

    name: str
    values: tuple[float, ...] = ()

    def __str__(self) -> str:
        """As ``parse_kind`` reads it: motion:9,30."""
        return self.name + (":" + ",".join(self._numbers()) if self.values else "")

    @property
    def sentence(self) -> str:
        """Exactly how the small photo is made from the large one ("the truth")."""
        return KINDS[self.name].sentence.format(*self._numbers())

    def _numbers(self) -> list[str]:
        return [f"{value:.10g}" for value in self.values]


@dataclass(frozen=True)
class Parameter:
    """A number after a kind's colon."""

    name: str
    low: float
    high: float
    whole: bool = False


@dataclass(frozen=True)
class Recipe:
    """How the photos of a kind are made, in words and by a function."""

    sentence: str  # {0} and {1} are its parameters
    make: Callable[..., LowRes]  # (hr, random numbers, *parameters)
    parameters: tuple[Parameter, ...] = ()
    usage: str = ""  # its parameters on the command line


def simulate(hr: Pixels, kind: PhotoKind, seed: int = 0) -> LowRes:
    """The small photo (h, w, 3) of a large one (4h, 4w, 3), both RGB, uint8.

    Kinds that end in JPEG compression give the file's bytes, so that its quality can be read.
    ``seed`` determines the noise. Raises ValueError where a side is no multiple of 4.
    """
    if hr.shape[0] % SCALE or hr.shape[1] % SCALE:
        raise ValueError(f"sides of {hr.shape[1]} x {hr.shape[0]} are no multiples of {SCALE}")
    return KINDS[kind.name].make(hr, np.random.default_rng(seed), *kind.values)


def parse_kind(text: str) -> PhotoKind:
    """The kind of photo of "area", "blur:2" or "motion:9,30". Raises DataError."""
    name, colon, rest = text.partition(":")
    recipe = KINDS.get(name)
    if recipe is None:
        raise DataError(f"There is no kind of photo {text[:MAX_QUOTED]!r}; {list_kinds()}.")
    numbers = rest.split(",") if colon else []
    try:
        values = tuple(float(number) for number in numbers)
    except ValueError:
        values = ()
    if len(values) != len(recipe.parameters) or len(values) != len(numbers):
        written = name + recipe.usage
        raise DataError(f"{text[:MAX_QUOTED]!r} has to be written as {written}; {list_kinds()}.")
    for parameter, value in zip(recipe.parameters, values, strict=True):
        if not parameter.low <= value <= parameter.high or (parameter.whole and value % 1):
            whole = " in whole steps" if parameter.whole and value % 1 else ""
            raise DataError(
                f"The {parameter.name} must be {parameter.low:g} to {parameter.high:g}{whole}, "
                f"not {value:g}; {list_kinds()}."
            )
    return PhotoKind(name, values)


def list_kinds() -> str:
    """The kinds as an error's last clause names them."""
    return "the kinds are " + ", ".join(name + recipe.usage for name, recipe in KINDS.items())


# --- steps: images are HWC, RGB, float32 in levels (0..255, not clipped) unless typed Pixels ---


def to_levels(image: Image) -> Pixels:
    """Rounded and clipped to uint8."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def shrink(hr: Pixels | Image) -> Image:
    """MATLAB's bicubic by 1/4, not rounded: (4h, 4w, 3) to (h, w, 3)."""
    return np.asarray(imresize(hr.astype(np.float32), scale=1 / SCALE), np.float32)


def shrink_opencv(hr: Pixels, interpolation: int) -> Pixels:
    """OpenCV's resize by 1/4, of uint8: (4h, 4w, 3) to (h, w, 3)."""
    size = (hr.shape[1] // SCALE, hr.shape[0] // SCALE)
    return np.asarray(cv2.resize(hr, size, interpolation=interpolation), np.uint8)


def shrink_lanczos(hr: Pixels) -> Pixels:
    """Pillow's antialiased Lanczos (a = 3) by 1/4, of uint8: (4h, 4w, 3) to (h, w, 3)."""
    size = (hr.shape[1] // SCALE, hr.shape[0] // SCALE)
    return np.asarray(PillowImage.fromarray(hr).resize(size, PillowImage.Resampling.LANCZOS))


def blur(image: Pixels | Image, sigma: float) -> Image:
    """Gaussian blur of ``sigma`` pixels; the border pixel is repeated."""
    blurred = cv2.GaussianBlur(
        image.astype(np.float32), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE
    )
    return np.asarray(blurred, np.float32)


def convolve(image: Pixels | Image, kernel: Kernel) -> Image:
    """Convolution with a kernel that is symmetric about its center; the border is repeated."""
    return np.asarray(
        cv2.filter2D(image.astype(np.float32), -1, kernel, borderType=cv2.BORDER_REPLICATE),
        np.float32,
    )


def sharpen(image: Pixels | Image, amount: float) -> Image:
    """Unsharp mask: what a blur of SHARPENING_SIGMA pixels removes is added ``amount`` times."""
    pixels = image.astype(np.float32)
    sharp = pixels + amount * (pixels - blur(pixels, SHARPENING_SIGMA))
    return sharp.astype(np.float32, copy=False)


def add_noise(image: Image, rng: np.random.Generator, sigma: float) -> Image:
    """Gaussian white noise of ``sigma`` levels, independent in R, G and B."""
    return (image + sigma * rng.standard_normal(image.shape)).astype(np.float32)


def disk_kernel(radius: float) -> Kernel:
    """A lens out of focus: a uniform disk of ``radius`` pixels, its edge a ramp of one pixel."""
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    kernel = np.clip(radius + 0.5 - np.hypot(x, y), 0.0, 1.0)
    return (kernel / kernel.sum()).astype(np.float32)


def motion_kernel(length: float, angle: float) -> Kernel:
    """A moving camera: a line of ``length`` pixels through the center.

    ``angle``: degrees from the x axis towards the y axis, which points down. Points of the line
    are shared between the four pixels around them (bilinearly).
    """
    steps = max(1, round(length * STEPS_PER_PIXEL))
    along = ((np.arange(steps) + 0.5) / steps - 0.5) * length
    reach = int(np.ceil(length / 2)) + 1
    x = reach + along * np.cos(np.deg2rad(angle))
    y = reach + along * np.sin(np.deg2rad(angle))
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    for down in (0, 1):
        for right in (0, 1):
            weight = (1 - np.abs(x - left - right)) * (1 - np.abs(y - top - down))
            np.add.at(kernel, (top + down, left + right), weight)
    return (kernel / kernel.sum()).astype(np.float32)


def encode_jpeg(pixels: Pixels, quality: int) -> bytes:
    """An image (HWC, uint8) as a JPEG file with 4:2:0 chroma subsampling."""
    file = io.BytesIO()
    PillowImage.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return file.getvalue()


# --- kinds: (hr (4h, 4w, 3) uint8, random numbers, *parameters) to the small photo ---


def sharpened(hr: Pixels, rng: np.random.Generator) -> Pixels:
    """Shrunk and sharpened, as photo programs do."""
    return to_levels(sharpen(shrink(hr), 0.8))


def noisy(hr: Pixels, rng: np.random.Generator, sigma: float) -> Pixels:
    """Shrunk, with noise of ``sigma`` levels."""
    return to_levels(add_noise(shrink(hr), rng, sigma))


def phone(hr: Pixels, rng: np.random.Generator) -> bytes:
    """A phone's camera: a soft lens, sensor noise, sharpening, light compression."""
    sensor = to_levels(add_noise(shrink(blur(hr, 1.2)), rng, 3.0))
    return encode_jpeg(to_levels(sharpen(sensor, 0.6)), 88)


def messenger(hr: Pixels, rng: np.random.Generator) -> bytes:
    """A photo sent through a messenger: shrunk, sharpened, compressed."""
    return encode_jpeg(to_levels(sharpen(shrink_opencv(hr, cv2.INTER_AREA), 0.7)), 70)


def old(hr: Pixels, rng: np.random.Generator) -> bytes:
    """An early digital camera: a soft lens, strong noise, strong compression."""
    return encode_jpeg(to_levels(add_noise(shrink(blur(hr, 2.0)), rng, 6.0)), 60)


NOISE = "Gaussian white noise of {} levels, independent in R, G and B, seeded by the row's index"
UNSHARP = f"an unsharp mask (sigma {SHARPENING_SIGMA:g} LR px, amount {{}})"
KINDS: dict[str, Recipe] = {
    "matlab": Recipe(
        f"{MATLAB} of the truth, rounded to 8 bits", lambda hr, rng: imresize(hr, scale=1 / SCALE)
    ),
    "area": Recipe(
        "OpenCV's INTER_AREA of the truth: means of 4x4 px, rounded to 8 bits",
        lambda hr, rng: shrink_opencv(hr, cv2.INTER_AREA),
    ),
    "linear": Recipe(
        "OpenCV's INTER_LINEAR of the truth, without antialiasing: means of the inner 2x2 of every "
        "4x4 px, rounded to 8 bits",
        lambda hr, rng: shrink_opencv(hr, cv2.INTER_LINEAR),
    ),
    "nearest": Recipe(
        "every fourth pixel of the truth, from its third, as by Pillow's NEAREST (the scene "
        "comes to lie 0.5 HR px left and up)",
        lambda hr, rng: np.ascontiguousarray(hr[SCALE // 2 :: SCALE, SCALE // 2 :: SCALE]),
    ),
    "sharpened": Recipe(
        f"{MATLAB} of the truth, then {UNSHARP.format('0.8')}, rounded to 8 bits once", sharpened
    ),
    "lanczos": Recipe(
        "Gaussian of sigma 0.7 HR px of the truth, rounded to 8 bits, then Pillow's antialiased "
        "Lanczos (a = 3), rounded to 8 bits",
        lambda hr, rng: shrink_lanczos(to_levels(blur(hr, 0.7))),
    ),
    "blur": Recipe(
        f"Gaussian of sigma {{0}} HR px of the truth, then {MATLAB}, rounded to 8 bits once",
        lambda hr, rng, sigma: to_levels(shrink(blur(hr, sigma))),
        (Parameter("sigma of the blur in HR px", 0.1, 20),),
        ":SIGMA",
    ),
    "disk": Recipe(
        "uniform disk of radius {0} HR px (edge: a ramp of 1 px) over the truth, then "
        f"{MATLAB}, rounded to 8 bits once",
        lambda hr, rng, radius: to_levels(shrink(convolve(hr, disk_kernel(radius)))),
        (Parameter("radius of the disk in HR px", 0.5, 40),),
        ":RADIUS",
    ),
    "motion": Recipe(
        "line of {0} HR px at {1} degrees (from right towards down) over the truth, then "
        f"{MATLAB}, rounded to 8 bits once",
        lambda hr, rng, length, angle: to_levels(
            shrink(convolve(hr, motion_kernel(length, angle)))
        ),
        (
            Parameter("length of the motion in HR px", 1, 100),
            Parameter("angle of the motion in degrees", -360, 360),
        ),
        ":LENGTH,ANGLE",
    ),
    "noise": Recipe(
        f"{MATLAB} of the truth, then {NOISE.format('{0}')}; rounded to 8 bits once",
        noisy,
        (Parameter("sigma of the noise in levels", 0, 100),),
        ":SIGMA",
    ),
    "jpeg": Recipe(
        f"{MATLAB} of the truth, rounded to 8 bits, then JPEG of quality {{0}} (4:2:0)",
        lambda hr, rng, quality: encode_jpeg(imresize(hr, scale=1 / SCALE), int(quality)),
        (Parameter("JPEG quality", 1, 100, whole=True),),
        ":QUALITY",
    ),
    "phone": Recipe(
        f"Gaussian of sigma 1.2 HR px of the truth, then {MATLAB}, then {NOISE.format('3')}; "
        f"rounded to 8 bits, then {UNSHARP.format('0.6')}, rounded to 8 bits, then JPEG of "
        "quality 88 (4:2:0)",
        phone,
    ),
    "messenger": Recipe(
        "OpenCV's INTER_AREA of the truth: means of 4x4 px, rounded to 8 bits, then "
        f"{UNSHARP.format('0.7')}, rounded to 8 bits, then JPEG of quality 70 (4:2:0)",
        messenger,
    ),
    "old": Recipe(
        f"Gaussian of sigma 2 HR px of the truth, then {MATLAB}, then {NOISE.format('6')}; "
        "rounded to 8 bits, then JPEG of quality 60 (4:2:0)",
        old,
    ),
}
