"""Sampling points: against autograd, against a known warp, and as pictures."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import PIL.Image
import pytest
import skimage.data
import torch
from torch import Tensor

from pages import Page
from refsr.arrays import Pixels
from refsr.cli import main
from refsr.errors import DataError, ModelError
from refsr.image.photo import Photo
from refsr.inference.corrected_photo import CorrectedPhoto
from refsr.inference.network import Network
from refsr.model.deform import deform_conv2d
from refsr.registration.large_image import register_coarse
from refsr.registration.references import References
from refsr.report import explain as module
from refsr.report.explain import (
    DeformLayer,
    Explanation,
    InspectableModel,
    explain,
    modulation_map,
)
from refsr.report.figure import BORROWED, View, draw_discs, draw_figure, draw_heat
from refsr.resize import imresize
from refsr.upscaler import Upscaler, network_inputs
from refsr.weights.models import FOLDER, find_model
from scenes import seen_through

SHIFTED = np.array([[1.02, 0.03, -6.0], [-0.02, 1.03, 4.0], [1e-5, 0.0, 1.0]])
SHIFT = np.array([8, -12])  # HR pixels: the reference's first pixel in the photo's frame
HR = np.asarray(skimage.data.astronaut(), np.uint8)


@pytest.fixture(scope="module")
def layers() -> InspectableModel:
    return InspectableModel(find_model("ssen"))


@pytest.fixture(scope="module")
def photo() -> Photo:
    return Photo.of(imresize(HR[32:288, 100:356], scale=0.25))


@pytest.fixture(scope="module")
def reference() -> Photo:
    return Photo.of(HR[32 + SHIFT[1] : 288 + SHIFT[1], 100 + SHIFT[0] : 356 + SHIFT[0]].copy())


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler.load()


@pytest.fixture(scope="module")
def matched(upscaler: Upscaler, photo: Photo, reference: Photo) -> CorrectedPhoto:
    given = upscaler.prepare(reference.pixels)
    return network_inputs(upscaler, photo.pixels, given)[0]


@pytest.fixture(scope="module")
def found(matched: CorrectedPhoto, layers: InspectableModel) -> Explanation:
    return explain(matched, layers, (121, 102))


def seen(kind: str) -> tuple[Pixels, Pixels]:
    """A small photo of 96 x 96 pixels and its reference."""
    hr, size = HR[:384, 60:444].copy(), (384, 384)
    view = seen_through(hr, SHIFTED, size)
    if kind == "blurred":
        hr = np.asarray(cv2.GaussianBlur(hr, (0, 0), 3), np.uint8)
    if kind == "other digits":
        page, other = Page(20, 0.5, 3), hr.copy()
        hr[224:], other[224:] = page.draw()[:160, :384], page.draw(other=True)[:160, :384]
        view = seen_through(other, SHIFTED, size)
    if kind == "aliased":
        return np.asarray(cv2.resize(hr, (96, 96), interpolation=cv2.INTER_LINEAR), np.uint8), view
    return imresize(hr, scale=0.25), view


@pytest.mark.parametrize("kind", ["other digits", "aliased", "blurred, alone"])
def test_the_network_gets_what_it_got_for_the_result(
    kind: str, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One tile: the photo corrected, the reference where it is not refuted, and what is told."""
    lr, ref = seen(kind.split(",")[0])
    given = References() if "alone" in kind else upscaler.prepare(ref)
    got: dict[str, list[Any]] = {}

    def recorded(of: type[Any]) -> None:
        run = of.run

        def record(self: Any, *inputs: Any, **named: Any) -> Any:
            got.setdefault(of.__name__, []).append((self.model.name, inputs))
            return run(self, *inputs, **named)

        monkeypatch.setattr(of, "run", record)

    corrected, network = network_inputs(upscaler, lr, given)
    assert network is not None
    layers = InspectableModel(network.model)
    recorded(Network)
    recorded(InspectableModel)
    result = upscaler.upscale(lr, references=given)
    explained = explain(corrected, layers, (190, 190))
    model, inputs = got["Network"][-1]  # those before look whether the reference is a copy
    ((same_model, others),) = got["InspectableModel"]
    assert model == same_model
    for index, (one, other) in enumerate(zip(inputs[:3] + inputs[4:5], others, strict=True)):
        np.testing.assert_array_equal(one, other, err_msg=str(index))
    assert np.abs(explained.sr.astype(int) - np.asarray(result.image)).max() <= 1
    assert explained.corrected == (kind != "other digits")
    assert explained.corrected != np.array_equal(explained.lr, lr)
    if kind == "other digits":
        digits, rest = np.split(others[2][32:352, 32:352] == 0, [192])[::-1]
        assert digits.mean() > rest.mean() + 0.02


def test_a_photo_in_blocks_is_explained_in_its_block(
    matched: CorrectedPhoto, found: Explanation, layers: InspectableModel
) -> None:
    """The pixel's own place, and the samples around it, are those of the photo in one piece."""
    coarse = matched.coarse
    assert coarse is not None
    shrunk = register_coarse(coarse.lr, coarse.composite.references, round(0.7 * 64 * 64))
    assert shrunk.shrunk
    blocks = replace(matched, coarse=replace(shrunk, block_pixels=1))
    assert len(blocks.blocks()) == 4
    explained = explain(blocks, layers, (121, 102))
    assert np.abs(explained.xy_identity - found.xy_identity).max() < 0.3
    assert np.abs(np.median(explained.xy - found.xy, axis=0)).max() < 0.5
    heat, valid = modulation_map(blocks, layers, lambda share: None)
    assert heat.shape == valid.shape == (64, 64)
    assert valid[25, 30] > 0.5


def what_autograd_says(stack: list[DeformLayer], x: int, y: int) -> np.ndarray:
    """How pixel (x, y) of stacked deformable convolutions of all ones depends on the input."""
    height, width = stack[0].modulation.shape[1:]
    groups = stack[0].modulation.shape[0] // 9
    first = torch.zeros(1, groups, height, width, dtype=torch.float32, requires_grad=True)
    feat: Tensor = first
    for layer in stack:
        offset, modulation = (torch.from_numpy(v)[None] for v in (layer.offset, layer.modulation))
        ones = torch.ones(groups, groups, 3, 3)
        feat = deform_conv2d(feat, offset, modulation, ones, torch.zeros(groups))
    feat[0, 0, y, x].backward()
    assert first.grad is not None
    return first.grad[0].sum(0).numpy()


def splat(xy: np.ndarray, strength: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The samples' strengths, each shared out bilinearly among the pixels around it."""
    out = np.zeros((shape[0] + 1, shape[1] + 1))
    low = np.floor(xy).astype(int)
    part = xy - low
    for dx in (0, 1):
        for dy in (0, 1):
            weight = np.abs(1 - dx - part[:, 0]) * np.abs(1 - dy - part[:, 1])
            np.add.at(out, (low[:, 1] + dy, low[:, 0] + dx), weight * strength)
    return out[:-1, :-1]


@pytest.mark.parametrize(("groups", "depth"), [(1, 3), (2, 2), (1, 1)])
@pytest.mark.parametrize("place", [(7, 6), (0, 11)])
def test_the_samples_are_what_the_layers_read(
    groups: int, depth: int, place: tuple[int, int]
) -> None:
    """Whole offsets, different in every pixel and tap: the gradient is a sum over the samples."""
    rng = np.random.default_rng(groups + 10 * depth)
    stack = [
        DeformLayer(
            rng.integers(-2, 3, (18 * groups, 12, 15)).astype(np.float32),
            rng.random((9 * groups, 12, 15), np.float32),
        )
        for _ in range(depth)
    ]
    xy, strength = module.sampling_points(stack, *place)
    assert xy.shape == ((9 * groups) ** depth, 2)
    expected = what_autograd_says(stack, *place)
    assert np.abs(splat(xy, strength, (12, 15)) - expected).max() < 1e-5


def test_samples_between_pixels() -> None:
    """One offset a tap everywhere, between pixels: strengths and centre of gravity are exact.

    Each layer's bilinear reading spreads a sample further, evenly to all sides.
    """
    rng = np.random.default_rng(4)
    stack = [
        DeformLayer(
            np.broadcast_to(rng.uniform(-1, 1, (18, 1, 1)), (18, 12, 15)).astype(np.float32),
            np.broadcast_to(rng.random((9, 1, 1)), (9, 12, 15)).astype(np.float32),
        )
        for _ in range(2)
    ]
    xy, strength = module.sampling_points(stack, 7, 6)
    expected = what_autograd_says(stack, 7, 6)
    assert strength.sum() == pytest.approx(expected.sum(), rel=1e-5)
    ys, xs = np.mgrid[:12, :15]
    for ours, theirs in ((xy[:, 0], xs), (xy[:, 1], ys)):
        assert (ours * strength).sum() == pytest.approx((theirs * expected).sum(), rel=1e-5)


def test_the_samples_lie_on_the_reference_where_it_shows_the_pixel(
    found: Explanation, layers: InspectableModel, reference: Photo
) -> None:
    """The reference is the same photo, cut elsewhere: its pixel is the shift away."""
    assert found.source is not None
    assert np.array_equal(found.source, reference.pixels)
    middle = np.array([121 // 4, 102 // 4]) * 4 + 1.5  # of the LR pixel's block
    assert np.abs(found.xy_identity - (middle - SHIFT)).max() < 0.2
    assert found.strength.shape == (9**layers.count,)
    assert found.strength.min() >= 0
    assert found.strength.max() <= 1
    assert found.borrowed.all()
    spread = np.abs(found.xy - found.xy_identity).max()
    assert 4 < spread < 64  # taps alone reach 12 HR pixels


def test_a_refused_reference_and_none_are_the_same(
    photo: Photo, layers: InspectableModel, upscaler: Upscaler
) -> None:
    foreign = upscaler.prepare(skimage.data.coffee()[:256, :256])
    none, refused = (
        explain(network_inputs(upscaler, photo.pixels, given)[0], layers, (40, 50))
        for given in (References(), foreign)
    )
    assert none.source is None
    assert refused.source is None
    assert np.array_equal(none.xy, refused.xy)
    assert np.array_equal(none.sr, refused.sr)
    assert tuple(none.xy_identity) == (10, 12)


def test_the_network_opens_more_for_a_matching_reference(
    found: Explanation, photo: Photo, layers: InspectableModel
) -> None:
    alone = explain(CorrectedPhoto(photo), layers, (121, 102))
    assert found.strength.sum() > 1.5 * alone.strength.sum()


def test_a_tiled_map_is_the_whole_one(
    layers: InspectableModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = Photo.of(HR[:32, :352].copy())
    heard: list[float] = []
    whole, _ = modulation_map(CorrectedPhoto(photo), layers, heard.append)
    assert heard == [1.0]
    monkeypatch.setattr(module, "TILE_PIXELS", 32 * 256)
    tiled, validity = modulation_map(CorrectedPhoto(photo), layers, heard.append)
    assert len(heard) > 2
    assert np.abs(whole - tiled).max() < 1e-3
    assert not validity.any()


@pytest.mark.parametrize("place", [(256, 0), (0, 256), (5000, 5000)])
def test_a_pixel_outside_is_refused(
    photo: Photo, layers: InspectableModel, place: tuple[int, int]
) -> None:
    with pytest.raises(DataError, match="the result, which is 256 x 256 pixels"):
        explain(CorrectedPhoto(photo), layers, place)


@pytest.fixture
def silent(tmp_path: Path) -> Path:
    """The shipped model as it was exported before it told its samples."""
    model = onnx.load(FOLDER / "ssen.onnx")
    del model.graph.output[2:]
    path = tmp_path / "old.onnx"
    onnx.save(model, path)
    seal(path, {})
    return path


def seal(path: Path, facts: dict[str, object]) -> None:
    """Write the card that belongs to a model file."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps({"multiple": 32, "sha256": digest} | facts))


def test_models_that_cannot_tell_say_why(silent: Path) -> None:
    with pytest.raises(ModelError, match="export it again"):
        InspectableModel(find_model(str(silent)))
    seal(silent, {"deform_layers": 0})
    with pytest.raises(ModelError, match="no deformable layers"):
        InspectableModel(find_model(str(silent)))
    with pytest.raises(ModelError, match="not a network"):
        InspectableModel(None)


def test_a_view_draws_each_pixel_where_it_says() -> None:
    image = np.zeros((30, 40, 3), np.uint8)
    image[11, 23] = 255
    for view in (View.square(image, np.array([20.0, 14.0]), 20), View.whole(image)):
        drawn = view.draw(image, smooth=True).sum(axis=2).astype(float)
        ys, xs = np.mgrid[: drawn.shape[0], : drawn.shape[1]]
        centre = np.array([(xs * drawn).sum(), (ys * drawn).sum()]) / drawn.sum()
        assert np.abs(view.to_panel(np.array([23.0, 11.0])) - centre).max() < 0.5


def test_discs_are_as_opaque_as_they_should_be() -> None:
    panel = np.full((40, 40, 3), 100, np.uint8)
    places = np.array([[10.0, 10.0], [30.0, 10.0], [10.0, 30.0], [-50.0, 5.0]], np.float32)
    opacity = np.array([1.0, 0.5, 0.0, 1.0], np.float32)
    draw_discs(panel, places, 3.0, np.tile(np.array(BORROWED, np.uint8), (4, 1)), opacity)
    assert tuple(panel[10, 10]) == BORROWED
    assert np.allclose(panel[10, 30], (np.array(BORROWED) + 100) / 2, atol=1)
    assert (panel[25:] == 100).all()


def test_the_figure_shows_every_part(found: Explanation) -> None:
    trusted = np.ones_like(found.borrowed)
    seen = replace(found, strength=np.ones_like(found.strength), borrowed=trusted)
    figure = draw_figure(seen)
    assert figure.dtype == np.uint8
    red = (figure.astype(int) @ [1, -1, -1] > 60).sum()
    hidden = draw_figure(replace(seen, strength=np.zeros_like(found.strength)))
    assert hidden.shape == figure.shape
    assert red > 1.5 * (hidden.astype(int) @ [1, -1, -1] > 60).sum()


def test_the_caption_fits_beside_the_narrowest_reference(found: Explanation) -> None:
    narrow = np.full((900, 9, 3), 80, np.uint8)
    blue = np.zeros_like(found.borrowed)
    figure = draw_figure(replace(found, source=narrow, borrowed=blue))
    assert (figure[-100:, -20:] == 255).all()
    assert (figure[-100:-50, 20:400] < 100).any()
    assert (figure[-50:, 20:400] < 100).any()


@pytest.mark.parametrize("place", [(0, 0), (255, 255), (0, 130)])
def test_figures_at_the_border(
    photo: Photo, layers: InspectableModel, place: tuple[int, int]
) -> None:
    assert draw_figure(explain(CorrectedPhoto(photo), layers, place)).shape[2] == 3


def test_a_photo_of_one_pixel(layers: InspectableModel) -> None:
    dot = Photo.of(np.full((1, 1, 3), 90, np.uint8))
    assert draw_figure(explain(CorrectedPhoto(dot), layers, (3, 3))).shape[2] == 3
    heat, _ = modulation_map(CorrectedPhoto(dot), layers, lambda done: None)
    assert draw_heat(dot.as_uint8(), heat, None).shape[1] == 4


def test_the_heat_map_is_gray_where_the_reference_is_not_valid() -> None:
    photo = np.full((20, 30, 3), (200, 90, 30), np.uint8)
    heat = np.tile(np.linspace(0, 1, 30, dtype=np.float32), (20, 1))
    validity = np.ones((20, 30), np.float32)
    validity[:10] = 0
    picture = draw_heat(photo, heat, validity).astype(int)
    upper, lower = picture[:32], picture[48:80]
    assert (np.ptp(upper, axis=2) == 0).all()
    assert np.ptp(lower, axis=2).max() > 60
    assert lower[:, 100].sum() > lower[:, 10].sum()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small, sharp = tmp_path / "small.png", tmp_path / "sharp.png"
    hr = HR[:128, 100:228]
    PIL.Image.fromarray(imresize(hr, scale=0.25)).save(small)
    PIL.Image.fromarray(hr).save(sharp)
    out, heat = tmp_path / "fig.png", tmp_path / "heat.png"
    words = ["explain", str(small), "--ref", str(sharp), "-o", str(out), "--heat", str(heat)]
    assert main([*words, "--at", "60,70"]) == 0
    assert (
        f"fig.png: {9 ** InspectableModel(find_model('ssen')).count} samples"
        in capsys.readouterr().err
    )
    assert PIL.Image.open(heat).size[0] == 128
    assert PIL.Image.open(out).size[0] > 2000
    out.unlink()
    for place, sentence in (("900,1", "128 x 128 pixels"), ("here", "--at must be a pixel X,Y")):
        assert main([*words, "--at", place]) == 1
        err = capsys.readouterr().err
        assert sentence in err
        assert err.count("\n") == 1
    assert not out.exists()


def test_asking_for_samples_changes_no_result(layers: InspectableModel) -> None:
    model = find_model("ssen")
    names = {output.name for output in layers.session.get_outputs()}
    assert {"sr", "gate", "offset_1", "modulation_1"} <= names
    rng = np.random.default_rng(0)
    feed = {
        "lr": rng.random((1, 3, model.multiple, model.multiple), np.float32),
        "ref": rng.random((1, 3, 4 * model.multiple, 4 * model.multiple), np.float32),
        "validity": np.ones((1, 1, 4 * model.multiple, 4 * model.multiple), np.float32),
    }
    few = layers.session.run(["sr"], feed)[0]
    every = layers.session.run(None, feed)[0]
    assert np.array_equal(few, every)
