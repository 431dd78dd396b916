"""The parts of registration, each against an oracle of its own."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from refsr.registration import flow, matching, warp
from refsr.registration.color_match import color_match
from refsr.registration.geometry import (
    WORKING_SIDE,
    Geometry,
    enlargement,
    fit_geometry,
    smooth_field,
)
from refsr.registration.matching import Features
from refsr.registration.reference import halve, shrink_from_pyramid
from refsr.resize import imresize


@pytest.mark.parametrize("window", [(8, 20, 12, 40), (0, 24, 0, 50), (20, 24, 45, 50)])
def test_reading_a_field_is_sampling_it(
    rng: np.random.Generator, window: tuple[int, int, int, int]
) -> None:
    field = rng.uniform(0, 300, (48, 100, 2)).astype(np.float32)
    rows, cols = slice(*window[:2]), slice(*window[2:])
    hr = (slice(4 * part.start, 4 * part.stop) for part in (rows, cols))
    expected = warp.sample(field, warp.grid(*hr, 0.5))
    np.testing.assert_allclose(warp.field_at_hr(field, rows, cols), expected, atol=1e-3)


def test_cutting_changes_no_place(natural: NDArray[np.uint8], rng: np.random.Generator) -> None:
    xy = rng.uniform((60, 50), (90, 80), (20, 30, 2)).astype(np.float32)
    part, inside = warp.crop_to(natural, xy)
    assert part.size < natural.size / 4
    expected = warp.sample(natural.astype(np.float32), xy, cv2.INTER_LANCZOS4)
    found = warp.sample(part.astype(np.float32), inside, cv2.INTER_LANCZOS4)
    np.testing.assert_allclose(found, expected, atol=0.3)  # remap rounds places to 1/32 pixel


def test_halve_is_imresize(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (40, 64, 3), np.uint8)
    assert np.abs(halve(image).astype(int) - imresize(image, 0.5).astype(int)).max() <= 1


def test_rendering_the_identity_gives_the_image_back(natural: NDArray[np.uint8]) -> None:
    here = warp.grid(slice(0, 192), slice(0, 256))
    for interpolation in (cv2.INTER_CUBIC, cv2.INTER_LANCZOS4):
        np.testing.assert_allclose(
            warp.warp_image(natural, here, interpolation), natural, atol=1e-2
        )


def test_shrunk_warp_does_not_depend_on_its_bands(
    natural: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    field = warp.grid(slice(0, 96), slice(0, 128), 2.0) + np.float32(0.3)
    whole = warp.warp_to_lr(natural, field)
    monkeypatch.setattr(warp, "BAND_ROWS", 7)
    np.testing.assert_allclose(warp.warp_to_lr(natural, field), whole, atol=1e-3)


def test_compose_of_affine_fields_is_exact_also_outside() -> None:
    here = warp.grid(slice(0, 30), slice(0, 40)).astype(np.float64)
    matrix = np.array([[1.2, -0.3], [0.4, 0.9]])
    outer = (here @ matrix.T + 5.0).astype(np.float32)
    inner = (here + np.array([2.5, -3.25])).astype(np.float32)
    expected = inner @ matrix.T + 5.0
    np.testing.assert_allclose(warp.compose_fields(outer, inner), expected, atol=1e-3)


def test_sample_beyond_the_limit_of_remap(rng: np.random.Generator) -> None:
    line = rng.uniform(0, 1, (1, 70000)).astype(np.float32)
    xy = np.zeros((1, 70000, 2), np.float32)
    xy[0, :, 0] = np.arange(70000)
    np.testing.assert_allclose(warp.sample(line, xy), line, atol=1e-6)


def test_shrunk_by_keeps_places() -> None:
    """The shrunk image's pixel (x, y) shows the place (x + 0.5) * ratio - 0.5."""
    ramp = np.tile(np.linspace(0, 250, 600) + 0.5, (300, 1)).astype(np.uint8)
    small = shrink_from_pyramid([ramp, halve(ramp)], 2.6)
    x = (np.arange(small.shape[1]) + 0.5) * 2.6 - 0.5
    off = (small[50] - x * 250 / 599)[5:-5]
    assert abs(off.mean()) < 0.15  # half a pixel would be 0.54 levels
    assert np.abs(off).max() < 2.0


def features(xy: NDArray[np.float64], descriptor: NDArray[np.float64]) -> Features:
    unit = descriptor / np.linalg.norm(descriptor, axis=1, keepdims=True)
    ones = np.ones(len(xy), np.float32)
    return Features(xy.astype(np.float32), ones, ones, unit.astype(np.float32))


def test_match_equals_opencvs_ratio_test(rng: np.random.Generator) -> None:
    a = features(rng.uniform(0, 99, (70, 2)), rng.uniform(0, 1, (70, 128)))
    noisy = a.descriptor[::-1] + rng.normal(0, 0.05, (70, 128))
    b = features(rng.uniform(0, 99, (70, 2)), noisy)
    expected = [
        (m.queryIdx, m.trainIdx)
        for m, n in cv2.BFMatcher().knnMatch(a.descriptor, b.descriptor, 2)
        if m.distance < 0.9 * n.distance
    ]
    assert len(expected) > 10
    assert [tuple(pair) for pair in matching.match(a, b, 0.9)] == expected


def test_guided_match_looks_only_where_it_is_told(rng: np.random.Generator) -> None:
    """Two equal things, one near and one far: only the guide can tell them apart."""
    descriptor = rng.uniform(0, 1, (1, 128))
    a = features(np.array([[10.0, 10.0]]), descriptor)
    b = features(
        np.array([[80.0, 80.0], [11.0, 10.0], [12.0, 12.0]]),
        np.concatenate([descriptor, descriptor, rng.uniform(0, 1, (1, 128))]),
    )
    assert len(matching.match(a, b, 0.85)) == 0
    assert matching.match(a, b, 0.85, a.xy, 5.0).tolist() == [[0, 1]]


def test_epipolar_error_is_the_distance_in_pixels() -> None:
    """Sideways stereo: the error is the vertical offset, shared by both points."""
    fundamental = np.array([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    a = np.array([[10.0, 20.0], [40.0, 50.0]])
    b = np.array([[3.0, 20.0], [31.0, 54.0]])
    np.testing.assert_allclose(
        matching.epipolar_error(fundamental, a, b), [0.0, 4 / np.sqrt(2)], atol=1e-9
    )


def test_agree_finds_the_plane_among_outliers(rng: np.random.Generator) -> None:
    truth = np.array([[1.5, 0.2, 30.0], [-0.1, 1.4, 12.0], [1e-4, -2e-4, 1.0]])
    xy_lr = rng.uniform(0, 200, (120, 2))
    xy_ref = matching.project(truth, xy_lr) + rng.normal(0, 0.05, (120, 2))
    xy_ref[:70] = rng.uniform(0, 300, (70, 2))
    found = fit_geometry(xy_lr, xy_ref, 1.45, 0.6)
    assert found is not None
    assert len(found.xy_lr) >= 45
    wanted = matching.project(truth, xy_lr)
    assert np.abs(matching.project(found.homography, xy_lr) - wanted).max() < 1.0


def test_agree_refuses_chance(rng: np.random.Generator) -> None:
    for _ in range(20):
        a, b = rng.uniform(0, 200, (60, 2)), rng.uniform(0, 300, (60, 2))
        assert fit_geometry(a, b, 1.5, 0.6) is None


def test_a_small_photo_is_enlarged_for_its_features_and_none_is_shrunk() -> None:
    for height, width in ((90, 160), (160, 1), (12, 12)):
        assert enlargement(height, width) == enlargement(width, height) == 4.0
    assert enlargement(161, 90) == enlargement(300, WORKING_SIDE // 2) == 2.0
    assert enlargement(10, 600) == WORKING_SIDE / 600
    assert enlargement(WORKING_SIDE, 1) == enlargement(3000, 4000) == 1.0


def test_the_smooth_field_is_exact_where_parallax_is_a_slope(rng: np.random.Generator) -> None:
    """What the homography leaves over lies where it was seen, not a pixel or a node beside."""
    homography = np.array([[2.0, 0.0, 9.0], [0.0, 2.0, -4.0], [0.0, 0.0, 1.0]])
    slope, offset = np.array([[0.11, -0.05], [0.07, 0.09]]), np.array([0.4, -0.3])
    xy_lr = rng.uniform(0, (90, 61), (900, 2))

    def truth(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return matching.project(homography, xy) + xy @ slope + offset

    field = smooth_field(Geometry(homography, xy_lr, truth(xy_lr), 2.0, 0.1), 61, 90)
    assert field.shape == (2 * 61, 2 * 90, 2)
    inner = (slice(24, -24), slice(24, -24))  # beyond the outermost nodes the field is level
    off = np.abs(field - truth(warp.grid(slice(0, 122), slice(0, 180), 0.5)))[inner]
    assert off.max() < 0.03  # reference px; half a pixel beside it would be 0.05


def test_local_affine_is_exact_on_affine_data(rng: np.random.Generator) -> None:
    points = rng.uniform(0, 100, (200, 2))
    values = points @ np.array([[0.01, 0.02], [-0.03, 0.01]]) + 3.0
    query = rng.uniform(20, 80, (9, 2))
    index = matching.nearest_points(query, points, 30)
    fitted = matching.local_affine(query, points, values, np.ones(200), index)
    expected = query @ np.array([[0.01, 0.02], [-0.03, 0.01]]) + 3.0
    np.testing.assert_allclose(fitted, expected, atol=0.02)


def test_the_nearest_are_the_nearest(rng: np.random.Generator) -> None:
    points, query = rng.uniform(0, 500, (900, 2)), rng.uniform(-50, 550, (70, 2))
    distance = ((query[:, None] - points) ** 2).sum(axis=2)
    expected = np.argsort(distance, axis=1)[:, :40]
    assert (np.sort(matching.nearest_points(query, points, 40)) == np.sort(expected)).all()


def test_a_lone_wrong_match_is_told_from_its_neighbours(rng: np.random.Generator) -> None:
    points = rng.uniform(0, 100, (80, 2))
    residual = 0.05 * points
    residual[7] += 9.0
    near, _ = matching.neighbor_consistency(points, residual, 1.0)
    assert not near[7]
    assert near.sum() == 79


def test_agreement_is_blind_to_exposure_and_sees_displacement(
    natural: NDArray[np.uint8],
) -> None:
    lr = flow.luma(natural)
    assert flow.local_correlation(lr, 0.6 * lr + 40).min() > 0.9
    shifted = np.roll(lr, 2, axis=1)
    textured = flow.window_mean(lr * lr) - flow.window_mean(lr) ** 2 > 100
    assert np.median(flow.local_correlation(lr, shifted)[textured]) < 0.75


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3])
def test_what_flow_has_left_over_is_measured(natural: NDArray[np.uint8], shift: float) -> None:
    """In the median over textured places, in field pixels, and so it decides who is settled."""
    lr = flow.luma(natural)
    matrix = np.array([[1, 0, shift / 2], [0, 1, 0]])
    moved = cv2.warpAffine(lr, matrix, lr.shape[::-1], flags=cv2.INTER_CUBIC)
    a, b = flow.flow_input(lr), flow.flow_input(moved)
    left = flow.residual_flow(a, b)
    slopes = cv2.resize(cv2.Laplacian(a, cv2.CV_32F) ** 2, left.shape[::-1])
    assert np.median(left[slopes > np.quantile(slopes, 0.7)]) == pytest.approx(shift, abs=0.08)
    everywhere = np.ones(a.shape, bool)
    assert flow.has_converged(left, everywhere, 0.25)
    assert flow.has_converged(left, everywhere, 0.02) == (shift == 0)
    assert flow.has_converged(left, ~everywhere, 0.02)  # no pixel counts


def test_guided_matching_is_the_table_of_all(natural: NDArray[np.uint8]) -> None:
    """Features that are near, by the whole table of distances; places are given to equals, too."""
    a = matching.detect(cv2.cvtColor(natural, cv2.COLOR_RGB2GRAY), 1.0, 1000)
    order = np.random.default_rng(3).permutation(len(a.xy))
    b = matching.Features(a.xy[order], a.size[order], a.angle[order], a.descriptor[order])
    guide, radius = a.xy + np.float32(1.5), 30.0
    similarity = a.descriptor @ b.descriptor.T
    far = ((guide[:, None] - b.xy) ** 2).sum(axis=2) >= radius**2
    far |= np.abs(np.log(a.size)[:, None] - np.log(b.size)) > np.log(2)
    similarity[far] = -1
    best = similarity.argsort(axis=1)[:, ::-1][:, :2]
    first, second = np.take_along_axis(similarity, best, axis=1).T
    good = (first > 0) & (2 - 2 * first < 0.9**2 * np.maximum(2 - 2 * second, 0))
    found = dict(matching.match(a, b, 0.9, guide, radius).tolist())
    assert 50 < good.sum() == len(found)
    assert all(similarity[i, j] == first[i] for i, j in found.items())


def test_folding_finds_the_fold_and_the_outside() -> None:
    field = warp.grid(slice(0, 40), slice(0, 40))
    field[10:20, 10:20, 0] = 30 - field[10:20, 10:20, 0]  # mirrored
    inside = flow.inside_image(field, (40, 30))
    torn = flow.find_folds(field, inside)
    assert torn[12:18, 12:18].all()
    assert not torn[25:, 25:].any()
    assert inside[:, :30].all()
    assert not inside[25:, 30:].any()


def test_color_match_recovers_gain_and_offset(natural: NDArray[np.uint8]) -> None:
    shrunk = natural.astype(np.float32)
    lr = np.clip(shrunk * (0.7, 0.8, 0.9) + (20, 10, 5), 0, 255).astype(np.uint8)
    color = color_match(lr, shrunk, np.ones((384, 512), np.float32))
    np.testing.assert_allclose(np.median(color[..., :3], (0, 1)), (0.7, 0.8, 0.9), atol=0.03)
    np.testing.assert_allclose(np.median(color[..., 3:], (0, 1)) * 255, (20, 10, 5), atol=4.0)


def test_color_match_without_any_trusted_place_changes_nothing(
    natural: NDArray[np.uint8],
) -> None:
    color = color_match(natural, natural.astype(np.float32), np.zeros((384, 512), np.float32))
    assert color.tolist() == [[[1, 1, 1, 0, 0, 0]]]
