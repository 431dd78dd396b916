"""Where the network looks: the sampling points behind one output pixel, and the modulation map.

The paper's Fig. 7. Three deformable 3x3 layers in a row read 9 x 9 x 9 = 729 places for each
feature pixel: the last layer's nine taps, at each the nine of the layer before, and so on. A
place counts as much as the product of the modulations on its way.

What the picture does not show: our layers are residual (aligned = feature + deformable(feature)),
so the feature at the pixel's own place always gets through unmodulated, beside all samples. The
figure marks that place with a cross. Ways that skip one or two layers lie between the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image, network_input
from refsr.errors import DataError, ModelError
from refsr.image.photo import Photo, to_colors_of
from refsr.image.tiling import cut
from refsr.inference.back_projection import back_project
from refsr.inference.network import Device
from refsr.inference.onnx import pick_provider
from refsr.registration.fusion import Composite, fuse_references
from refsr.registration.register import prepare_reference
from refsr.registration.warp import FIELD_SCALE, Field, sample
from refsr.resize import SCALE
from refsr.weights.models import DETAIL_TRANSFER, Model, find_model

TAPS = 9
REACH = 96  # LR pixels computed around the chosen one; training patches have 32
BUDGET = 256 * 256  # LR pixels of a tile of the map
TRUSTED = 0.5  # validity from which a place counts as the reference's


@dataclass(frozen=True)
class Layer:
    """One deformable layer of a tile, G channel groups."""

    offset: Image  # (18 G, h, w) LR pixels, (dy, dx) of each group's taps
    modulation: Image  # (9 G, h, w) 0..1


@dataclass(frozen=True)
class Explanation:
    """What one pixel of the result was made from."""

    at: tuple[int, int]  # x, y of the result
    layers: int
    lr: NDArray[np.uint8]  # (h, w, 3) RGB, the photo
    sr: NDArray[np.uint8]  # (H, W, 3) RGB, the result around the pixel
    sr_origin: tuple[int, int]  # x, y of its first pixel
    source: NDArray[np.uint8] | None  # RGB, the reference; None: the photo is its own
    xy: Field  # (N, 2) the samples, in pixels of the source, of the photo where there is none
    xy_identity: Field  # (2,) the same for the pixel's own place
    strength: Image  # (N,) 0..1 product of the modulations
    borrowed: NDArray[np.bool_]  # (N,) valid there; elsewhere the photo stands in for the reference


class InspectableModel:
    """A model that can be looked into: run by ONNX Runtime, it also gives each layer's samples."""

    def __init__(self, name: str, device: Device = "auto") -> None:
        """``name``: as for ``Upscaler.load``. Raises ModelError where there is nothing to see."""
        import onnxruntime

        if name == DETAIL_TRANSFER:
            raise ModelError("detail-transfer is no network and samples nothing; name a model.")
        self.model: Model = find_model(name)
        provider = pick_provider(device)
        try:
            self.session: Any = onnxruntime.InferenceSession(
                str(self.model.path), providers=[provider]
            )
        except Exception as error:  # onnxruntime's own exceptions share no base
            raise ModelError(
                f"{self.model.path} is no model that ONNX Runtime can load; export it again."
            ) from error
        outputs = {output.name for output in self.session.get_outputs()}
        self.count = sum(name.startswith("offset_") for name in outputs)
        if not self.count:
            if self.model.card.get("deform_layers") == 0:
                raise ModelError(
                    f"The model {self.model.name} has no deformable layers: it samples nothing."
                )
            raise ModelError(
                f"{self.model.path} does not tell its samples; export it again from its checkpoint."
            )

    def run(self, lr: Image, ref: Image, validity: Image) -> tuple[Image, list[Layer]]:
        """SR (4h, 4w, 3) and the layers, first to last; arguments as for ``Network.run``.

        The layers' maps keep what was padded to reach the network's grid.
        """
        (height, width), multiple = lr.shape[:2], self.model.multiple
        feed = {
            "lr": network_input(lr, multiple),
            "ref": network_input(ref, SCALE * multiple),
            "validity": network_input(validity, SCALE * multiple),
        }
        numbers = range(1, self.count + 1)
        names = [f"{kind}_{number}" for number in numbers for kind in ("offset", "modulation")]
        sr, *parts = (out[0] for out in self.session.run(["sr", *names], feed))
        layers = [Layer(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
        return sr[:, : height * SCALE, : width * SCALE].transpose(1, 2, 0), layers


def sampling_points(layers: list[Layer], x: float, y: float) -> tuple[Field, Image]:
    """Every place that the layers, one after the other, read for pixel (x, y) of their output.

    Returns (N, 2) places x, y on the layers' grid and (N,) the products of the modulations on the
    way, N = (9 G) ** layers. Between pixels, offsets and modulations are interpolated, as the
    features are. What lies outside the map is read as zero, and so is its share of a product.
    """
    height, width = layers[0].modulation.shape[1:]
    xy = np.array([[x, y]], np.float32)
    strength = np.ones(1, np.float32)
    tap = np.stack(np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]), -1).reshape(TAPS, 2)
    for layer in reversed(layers):
        groups = layer.modulation.shape[0] // TAPS
        offset = read(layer.offset, xy).reshape(-1, TAPS * groups, 2)[..., ::-1]
        moved = xy[:, None] + np.tile(tap, (groups, 1)) + offset
        strength = (strength[:, None] * read(layer.modulation, xy)).reshape(-1)
        xy = moved.reshape(-1, 2).astype(np.float32)
        inside = np.clip(xy, 0, np.array([width - 1, height - 1], np.float32))
        strength *= np.clip(1 - np.abs(xy - inside), 0, 1).prod(axis=1)
        xy = inside.astype(np.float32)
    return xy, strength


def read(channels: Image, xy: Field) -> Image:
    """``channels`` (C, h, w) at the places ``xy`` (N, 2), bilinear, the border repeated: (N, C)."""
    height, width = channels.shape[1:]
    x, y = np.clip(xy[:, 0], 0, width - 1), np.clip(xy[:, 1], 0, height - 1)
    x0, y0 = x.astype(int), y.astype(int)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = x - x0, y - y0
    top = channels[:, y0, x0] * (1 - fx) + channels[:, y0, x1] * fx
    bottom = channels[:, y1, x0] * (1 - fx) + channels[:, y1, x1] * fx
    return (top * (1 - fy) + bottom * fy).T.astype(np.float32)


def registered(photo: Photo, reference: Photo | None) -> Composite | None:
    """The reference, registered to the whole photo; None where there is none."""
    if reference is None:
        return None
    pixels = to_colors_of(reference, photo)
    return fuse_references(photo.as_uint8(), (prepare_reference(pixels, reference.alpha),))


def explain(
    photo: Photo, composite: Composite | None, layers: InspectableModel, at: tuple[int, int]
) -> Explanation:
    """Where the samples behind pixel ``at`` (x, y of the result) fall.

    ``composite``: at most one reference, registered; where it is None or not used, the photo is its
    own reference. Raises DataError for a pixel outside the result.
    """
    x, y = at
    if not (0 <= x < photo.width * SCALE and 0 <= y < photo.height * SCALE):
        raise DataError(
            f"There is no pixel {x},{y} in the result, which is {photo.width * SCALE} x "
            f"{photo.height * SCALE} pixels; both count from 0."
        )
    x, y = x // SCALE, y // SCALE
    rows, cols = (
        around(place, length, layers.model.multiple)
        for place, length in ((y, photo.height), (x, photo.width))
    )
    used = composite if composite is not None and composite.matched else None
    sr, found, validity = look(photo, used, layers, rows, cols)
    xy, strength = sampling_points(found, x - cols.start, y - rows.start)
    borrowed = read(validity[None], xy * SCALE + (SCALE - 1) / 2)[:, 0] > TRUSTED
    xy = xy + np.array([cols.start, rows.start], np.float32)
    own = np.array([[x, y]], np.float32)
    source = None
    if used is not None:
        source = used.references[0].pixels
        xy, own = (in_reference(used, places) for places in (xy, own))
    return Explanation(
        at=at,
        layers=len(found),
        lr=photo.as_uint8(),
        sr=np.rint(255 * sr).astype(np.uint8),
        sr_origin=(cols.start * SCALE, rows.start * SCALE),
        source=source,
        xy=xy,
        xy_identity=own[0],
        strength=strength,
        borrowed=borrowed,
    )


def modulation_map(
    photo: Photo,
    composite: Composite | None,
    layers: InspectableModel,
    progress: Callable[[float], None],
) -> tuple[Image, Image]:
    """How far the network opened its samples: (h, w), 0..1, and the validity (h, w), 0..1.

    The product over the layers of each layer's mean modulation. ``progress`` hears the share done.
    """
    heat, valid = (np.empty((photo.height, photo.width), np.float32) for _ in range(2))
    used = composite if composite is not None and composite.matched else None
    step = layers.model.multiple
    tiles = cut(photo.height, photo.width, -(-REACH // step) * step, step, BUDGET)
    for index, tile in enumerate(tiles):
        _, found, validity = look(photo, used, layers, tile.rows, tile.cols)
        product = np.prod([layer.modulation.mean(axis=0) for layer in found], axis=0)
        core, inner = (tile.core_rows, tile.core_cols), tile.core(1)
        heat[core] = product[inner]
        height, width = validity.shape
        cells = validity.reshape(height // SCALE, SCALE, width // SCALE, SCALE)
        valid[core] = cells.mean(axis=(1, 3))[inner]
        progress((index + 1) / len(tiles))
    return heat, valid


def look(
    photo: Photo, composite: Composite | None, layers: InspectableModel, rows: slice, cols: slice
) -> tuple[Image, list[Layer], Image]:
    """Run a tile given in LR pixels: SR (4h, 4w, 3) 0..1, layers, validity (4h, 4w)."""
    levels = np.float32(np.iinfo(photo.pixels.dtype).max)
    lr = photo.pixels[rows, cols].astype(np.float32) / levels
    if composite is None:
        ref = np.zeros((lr.shape[0] * SCALE, lr.shape[1] * SCALE, 3), np.float32)
        validity = np.zeros(ref.shape[:2], np.float32)
    else:
        ref, validity = composite.aligned(rows, cols)
    sr, found = layers.run(lr, ref, validity)
    return np.clip(back_project(sr, lr), 0, 1), found, validity


def around(place: int, length: int, multiple: int) -> slice:
    """The LR pixels computed for one, cut on the network's grid: ``REACH`` or more to each side."""
    reach = -(-REACH // multiple) * multiple
    start = place // multiple * multiple
    return slice(max(0, start - reach), min(length, start + multiple + reach))


def in_reference(composite: Composite, xy: Field) -> Field:
    """Places (N, 2) in LR pixels of the photo, in the reference's own pixels: (N, 2)."""
    here = ((xy + 0.5) * FIELD_SCALE - 0.5).astype(np.float32)
    return sample(composite.registrations[0].xy_ref, here[None])[0]
