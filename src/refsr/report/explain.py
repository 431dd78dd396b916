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

from refsr.arrays import Image
from refsr.errors import DataError, ModelError
from refsr.image.tiling import Tile, cut
from refsr.inference.corrected_photo import CorrectedPhoto
from refsr.inference.network import Device, model_inputs
from refsr.inference.onnx import pick_provider
from refsr.registration.fusion import Composite
from refsr.registration.large_image import HALO
from refsr.registration.warp import FIELD_SCALE, Field, sample
from refsr.resize import SCALE
from refsr.weights.models import Model

TAPS = 9
CONTEXT = HALO  # LR pixels computed on each side of the chosen one; training patches have 32
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
    lr: NDArray[np.uint8]  # (h, w, 3) RGB, the photo as the network got it
    corrected: bool  # whether that is not the photo as it came
    sr: NDArray[np.uint8]  # (H, W, 3) RGB, the result around the pixel
    sr_origin: tuple[int, int]  # x, y of the first pixel of ``sr`` in the result
    source: NDArray[np.uint8] | None  # RGB, the reference; None where it is the photo itself
    xy: Field  # (N, 2) the samples, in pixels of ``source``, or of the photo if that is None
    xy_identity: Field  # (2,) the pixel itself, likewise
    strength: Image  # (N,) 0..1 product of the modulations
    borrowed: NDArray[np.bool_]  # (N,) whether the reference is valid there; else the photo is used


class InspectableModel:
    """A model in ONNX Runtime that also returns its deformable layers' offsets and modulations."""

    def __init__(self, model: Model | None, device: Device = "auto") -> None:
        """``model`` None: the detail transfer. Raises ModelError where there are no such outputs.

        ``device``: as for ``Upscaler.load``.
        """
        import onnxruntime

        if model is None:
            raise ModelError("detail-transfer is not a network: it has no samples; name a model.")
        self.model = model
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

    def run(
        self, lr: Image, ref: Image, validity: Image, condition: Image | None = None
    ) -> tuple[Image, list[DeformLayer]]:
        """SR (4h, 4w, 3) and the layers, first to last; arguments as for ``Network.run``.

        The layers' maps are of the padded size, a multiple of the network's grid.
        """
        height, width = lr.shape[:2]
        feed = dict(model_inputs(self.model, lr, (ref, validity), condition))
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


def explain(
    corrected: CorrectedPhoto, layers: InspectableModel, at: tuple[int, int]
) -> Explanation:
    """Find the samples behind pixel ``at`` (x, y of the result).

    Without references the photo is its own. Raises DataError for a pixel outside the result.
    """
    x, y = at
    photo = corrected.photo
    if not (0 <= x < photo.width * SCALE and 0 <= y < photo.height * SCALE):
        raise DataError(
            f"Pixel {x},{y} is outside the result, which is {photo.width * SCALE} x "
            f"{photo.height * SCALE} pixels; both count from 0."
        )
    x, y = x // SCALE, y // SCALE
    block = block_of(corrected.blocks(), x, y)
    composite = corrected.block(block)
    tile = tile_around(block, x, y, layers.model.multiple)
    sr, outputs, validity = run_tile(corrected, layers, composite, block, tile)
    xy, strength = sampling_points(outputs, x - tile.cols.start, y - tile.rows.start)
    borrowed = sample_bilinear(validity[None], xy * SCALE + (SCALE - 1) / 2)[:, 0] > TRUSTED
    xy = xy + np.array([tile.cols.start, tile.rows.start], np.float32)
    own = np.array([[x, y]], np.float32)
    source = None
    if composite is not None:
        corner = np.array([block.cols.start, block.rows.start], np.float32)
        index = reference_at(composite, x - block.cols.start, y - block.rows.start)
        source = composite.references[index].pixels
        xy, own = (to_reference(composite, index, points - corner) for points in (xy, own))
    return Explanation(
        at=at,
        layers=len(outputs),
        lr=photo.as_uint8(),
        corrected=corrected.restoration is not None,
        sr=np.rint(255 * sr).astype(np.uint8),
        sr_origin=(tile.cols.start * SCALE, tile.rows.start * SCALE),
        source=source,
        xy=xy,
        xy_identity=own[0],
        strength=strength,
        borrowed=borrowed,
    )


def modulation_map(
    corrected: CorrectedPhoto, layers: InspectableModel, progress: Callable[[float], None]
) -> tuple[Image, Image]:
    """The modulation map (h, w), 0..1, and the validity (h, w), 0..1.

    The map is the product over the layers of each layer's mean modulation. ``progress`` is called
    with the finished share, 0..1.
    """
    photo, step = corrected.photo, layers.model.multiple
    heat, valid = (np.empty((photo.height, photo.width), np.float32) for _ in range(2))
    done = 0
    for block in corrected.blocks():
        composite = corrected.block(block)
        halo = -(-CONTEXT // step) * step
        for tile in cut(photo.height, photo.width, halo, step, TILE_PIXELS, block):
            _, outputs, validity = run_tile(corrected, layers, composite, block, tile)
            product = np.prod([layer.modulation.mean(axis=0) for layer in outputs], axis=0)
            core, inner = (tile.core_rows, tile.core_cols), tile.core(1)
            heat[core] = product[inner]
            height, width = validity.shape
            cells = validity.reshape(height // SCALE, SCALE, width // SCALE, SCALE)
            valid[core] = cells.mean(axis=(1, 3))[inner]
            done += heat[core].size
            progress(done / heat.size)
    return heat, valid


def run_tile(
    corrected: CorrectedPhoto,
    layers: InspectableModel,
    composite: Composite | None,  # of ``block``, in which the tile lies
    block: Tile,
    tile: Tile,
) -> tuple[Image, list[DeformLayer], Image]:
    """Run a tile as the renderer does: SR (4h, 4w, 3) 0..1, layers, validity (4h, 4w)."""
    lr, ref, validity = corrected.inputs(composite, block, tile)
    sr, outputs = layers.run(lr, ref, validity, corrected.condition)
    sr = corrected.back_projected(sr, lr, tile, layers.model.faithful)
    return np.clip(sr, 0, 1), outputs, validity


def block_of(blocks: list[Tile], x: int, y: int) -> Tile:
    """The block whose core holds LR pixel x, y of the photo."""
    return next(
        block
        for block in blocks
        if block.core_cols.start <= x < block.core_cols.stop
        and block.core_rows.start <= y < block.core_rows.stop
    )


def tile_around(block: Tile, x: int, y: int, multiple: int) -> Tile:
    """The LR pixels to compute for x, y: CONTEXT or more on each side, on the grid, in its block.

    ``multiple``: LR pixels, of the network's grid.
    """
    context = -(-CONTEXT // multiple) * multiple
    rows, cols = (
        slice(max(part.start, start - context), min(part.stop, start + multiple + context))
        for start, part in (
            (y // multiple * multiple, block.rows),
            (x // multiple * multiple, block.cols),
        )
    )
    return Tile(rows, cols, slice(y, y + 1), slice(x, x + 1))


def reference_at(composite: Composite, x: int, y: int) -> int:
    """The reference that serves LR pixel x, y; the first one used where none is valid."""
    source = int(composite.source_index()[y, x])
    return source if source >= 0 else composite.useful.index(True)


def to_reference(composite: Composite, index: int, xy: Field) -> Field:
    """Convert points (N, 2) from LR pixels of the composite to pixels of a reference: (N, 2)."""
    in_field = ((xy + 0.5) * FIELD_SCALE - 0.5).astype(np.float32)
    return sample(composite.registrations[index].xy_ref, in_field[None])[0]
