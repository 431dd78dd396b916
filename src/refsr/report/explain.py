"""The sampling points of the deformable layers for one output pixel, and the modulation map.

The paper's Fig. 7. Three stacked deformable 3x3 layers sample 9 x 9 x 9 = 729 points for each
feature pixel: the last layer's nine taps, at each the nine of the layer before, and so on. The
weight of a point is the product of the modulations along its path.

What the figure does not show: our layers are residual (aligned = feature + deformable(feature)),
so the feature at the pixel itself also passes unmodulated. The figure marks that point with a
cross. Paths that skip one or two layers lie in between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image, network_input
from refsr.degradation.condition import nothing_told
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
CONTEXT = 96  # LR pixels computed on each side of the chosen one; training patches have 32
TILE_PIXELS = 256 * 256  # LR pixels of a tile of the map, at most
TRUSTED = 0.5  # validity above which a sample counts as taken from the reference


@dataclass(frozen=True)
class DeformLayer:
    """Offsets and modulation of one deformable layer for a tile, G channel groups."""

    offset: Image  # (18 G, h, w) LR pixels, (dy, dx) of each tap of each group
    modulation: Image  # (9 G, h, w) 0..1


@dataclass(frozen=True)
class Explanation:
    """The samples behind one pixel of the result."""

    at: tuple[int, int]  # x, y of the pixel in the result
    layers: int
    lr: NDArray[np.uint8]  # (h, w, 3) RGB, the photo
    sr: NDArray[np.uint8]  # (H, W, 3) RGB, the result around the pixel
    sr_origin: tuple[int, int]  # x, y of the first pixel of ``sr`` in the result
    source: NDArray[np.uint8] | None  # RGB, the reference; None where it is the photo itself
    xy: Field  # (N, 2) the samples, in pixels of ``source``, or of the photo if that is None
    xy_identity: Field  # (2,) the pixel itself, likewise
    strength: Image  # (N,) 0..1 product of the modulations
    borrowed: NDArray[np.bool_]  # (N,) whether the reference is valid there; else the photo is used


class InspectableModel:
    """A model in ONNX Runtime that also returns its deformable layers' offsets and modulations."""

    def __init__(self, name: str, device: Device = "auto") -> None:
        """``name``: as for ``Upscaler.load``. Raises ModelError where it has no such outputs."""
        import onnxruntime

        if name == DETAIL_TRANSFER:
            raise ModelError("detail-transfer is not a network: it has no samples; name a model.")
        self.model: Model = find_model(name)
        provider = pick_provider(device)
        try:
            self.session: Any = onnxruntime.InferenceSession(
                str(self.model.path), providers=[provider]
            )
        except Exception as error:  # onnxruntime's own exceptions share no base
            raise ModelError(
                f"ONNX Runtime cannot load the model {self.model.path}; export it again."
            ) from error
        outputs = {output.name for output in self.session.get_outputs()}
        self.count = sum(name.startswith("offset_") for name in outputs)
        if not self.count:
            if self.model.card.get("deform_layers") == 0:
                raise ModelError(
                    f"The model {self.model.name} has no deformable layers: it has no samples."
                )
            raise ModelError(
                f"The model {self.model.path} has no outputs for its offsets and modulations; "
                "export it again from its checkpoint."
            )

    def run(self, lr: Image, ref: Image, validity: Image) -> tuple[Image, list[DeformLayer]]:
        """SR (4h, 4w, 3) and the layers, first to last; arguments as for ``Network.run``.

        The layers' maps are of the padded size, a multiple of the network's grid.
        """
        (height, width), multiple = lr.shape[:2], self.model.multiple
        feed = {
            "lr": network_input(lr, multiple),
            "ref": network_input(ref, SCALE * multiple),
            "validity": network_input(validity, SCALE * multiple),
        }
        if self.model.conditions:
            feed["condition"] = nothing_told().reshape(1, -1, 1, 1)
        numbers = range(1, self.count + 1)
        names = [f"{kind}_{number}" for number in numbers for kind in ("offset", "modulation")]
        sr, *parts = (out[0] for out in self.session.run(["sr", *names], feed))
        layers = [DeformLayer(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
        return sr[:, : height * SCALE, : width * SCALE].transpose(1, 2, 0), layers


def sampling_points(layers: list[DeformLayer], x: float, y: float) -> tuple[Field, Image]:
    """The points that the stacked layers sample for pixel (x, y) of their output.

    Returns (N, 2) points x, y on the layers' grid and (N,) the products of the modulations along
    their paths, N = (9 G) ** layers. Between pixels, offsets and modulations are interpolated
    bilinearly, as the features are. Outside the map features are zero, and so are the products.
    """
    height, width = layers[0].modulation.shape[1:]
    xy = np.array([[x, y]], np.float32)
    strength = np.ones(1, np.float32)
    tap = np.stack(np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]), -1).reshape(TAPS, 2)
    for layer in reversed(layers):
        groups = layer.modulation.shape[0] // TAPS
        offset = sample_bilinear(layer.offset, xy).reshape(-1, TAPS * groups, 2)[..., ::-1]
        moved = xy[:, None] + np.tile(tap, (groups, 1)) + offset
        strength = (strength[:, None] * sample_bilinear(layer.modulation, xy)).reshape(-1)
        xy = moved.reshape(-1, 2).astype(np.float32)
        inside = np.clip(xy, 0, np.array([width - 1, height - 1], np.float32))
        strength *= np.clip(1 - np.abs(xy - inside), 0, 1).prod(axis=1)
        xy = inside.astype(np.float32)
    return xy, strength


def sample_bilinear(channels: Image, xy: Field) -> Image:
    """``channels`` (C, h, w) at points ``xy`` (N, 2), bilinear, the border replicated: (N, C)."""
    height, width = channels.shape[1:]
    x, y = np.clip(xy[:, 0], 0, width - 1), np.clip(xy[:, 1], 0, height - 1)
    x0, y0 = x.astype(int), y.astype(int)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = x - x0, y - y0
    top = channels[:, y0, x0] * (1 - fx) + channels[:, y0, x1] * fx
    bottom = channels[:, y1, x0] * (1 - fx) + channels[:, y1, x1] * fx
    return (top * (1 - fy) + bottom * fy).T.astype(np.float32)


def registered(photo: Photo, reference: Photo | None) -> Composite | None:
    """The reference registered to the whole photo; None if ``reference`` is."""
    if reference is None:
        return None
    pixels = to_colors_of(reference, photo)
    return fuse_references(photo.as_uint8(), (prepare_reference(pixels, reference.alpha),))


def explain(
    photo: Photo, composite: Composite | None, layers: InspectableModel, at: tuple[int, int]
) -> Explanation:
    """Find the samples behind pixel ``at`` (x, y of the result).

    ``composite``: at most one reference, registered; if it is None or not used, the photo is its
    own reference. Raises DataError for a pixel outside the result.
    """
    x, y = at
    if not (0 <= x < photo.width * SCALE and 0 <= y < photo.height * SCALE):
        raise DataError(
            f"Pixel {x},{y} is outside the result, which is {photo.width * SCALE} x "
            f"{photo.height * SCALE} pixels; both count from 0."
        )
    x, y = x // SCALE, y // SCALE
    rows, cols = (
        context_slice(index, length, layers.model.multiple)
        for index, length in ((y, photo.height), (x, photo.width))
    )
    used = composite if composite is not None and composite.matched else None
    sr, outputs, validity = run_tile(photo, used, layers, rows, cols)
    xy, strength = sampling_points(outputs, x - cols.start, y - rows.start)
    borrowed = sample_bilinear(validity[None], xy * SCALE + (SCALE - 1) / 2)[:, 0] > TRUSTED
    xy = xy + np.array([cols.start, rows.start], np.float32)
    own = np.array([[x, y]], np.float32)
    source = None
    if used is not None:
        source = used.references[0].pixels
        xy, own = (to_reference(used, points) for points in (xy, own))
    return Explanation(
        at=at,
        layers=len(outputs),
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
    """The modulation map (h, w), 0..1, and the validity (h, w), 0..1.

    The map is the product over the layers of each layer's mean modulation. ``progress`` is called
    with the finished share, 0..1.
    """
    heat, valid = (np.empty((photo.height, photo.width), np.float32) for _ in range(2))
    used = composite if composite is not None and composite.matched else None
    step = layers.model.multiple
    tiles = cut(photo.height, photo.width, -(-CONTEXT // step) * step, step, TILE_PIXELS)
    for index, tile in enumerate(tiles):
        _, outputs, validity = run_tile(photo, used, layers, tile.rows, tile.cols)
        product = np.prod([layer.modulation.mean(axis=0) for layer in outputs], axis=0)
        core, inner = (tile.core_rows, tile.core_cols), tile.core(1)
        heat[core] = product[inner]
        height, width = validity.shape
        cells = validity.reshape(height // SCALE, SCALE, width // SCALE, SCALE)
        valid[core] = cells.mean(axis=(1, 3))[inner]
        progress((index + 1) / len(tiles))
    return heat, valid


def run_tile(
    photo: Photo, composite: Composite | None, layers: InspectableModel, rows: slice, cols: slice
) -> tuple[Image, list[DeformLayer], Image]:
    """Run a tile given in LR pixels: SR (4h, 4w, 3) 0..1, layers, validity (4h, 4w)."""
    levels = np.float32(np.iinfo(photo.pixels.dtype).max)
    lr = photo.pixels[rows, cols].astype(np.float32) / levels
    if composite is None:
        ref = np.zeros((lr.shape[0] * SCALE, lr.shape[1] * SCALE, 3), np.float32)
        validity = np.zeros(ref.shape[:2], np.float32)
    else:
        ref, validity = composite.aligned(rows, cols)
    sr, outputs = layers.run(lr, ref, validity)
    return np.clip(back_project(sr, lr), 0, 1), outputs, validity


def context_slice(index: int, length: int, multiple: int) -> slice:
    """The LR pixels to compute for pixel ``index``: CONTEXT or more on each side, on the grid."""
    context = -(-CONTEXT // multiple) * multiple
    start = index // multiple * multiple
    return slice(max(0, start - context), min(length, start + multiple + context))


def to_reference(composite: Composite, xy: Field) -> Field:
    """Convert points (N, 2) from LR pixels of the photo to pixels of the reference: (N, 2)."""
    in_field = ((xy + 0.5) * FIELD_SCALE - 0.5).astype(np.float32)
    return sample(composite.registrations[0].xy_ref, in_field[None])[0]
