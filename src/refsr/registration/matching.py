"""Sparse matching: SIFT features, the ratio test, and robust models of the matches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.registration.warp import Field, sample

CONTRAST_THRESHOLD = 0.015  # of SIFT; half the default, as an enlarged LR has little contrast
# Descriptors are quantised to 1 / DESCRIPTOR_STEPS: sums of their products are then exact in
# float32 in any order, whatever the BLAS and its threads, and float16 holds them exactly.
DESCRIPTOR_STEPS = 2048
CHUNK_ROWS = 1024  # rows of the similarity matrix computed at a time
GUIDED_CHUNK_ROWS = 128  # with few columns
MAX_POSES = 400  # hypotheses of zoom and rotation

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Features:
    """SIFT features of one image, in that image's own pixels."""

    xy: NDArray[np.float32]  # (N, 2)
    size: NDArray[np.float32]  # (N,) diameter in pixels
    angle: NDArray[np.float32]  # (N,) radians
    descriptor: NDArray[np.float32]  # (N, 128) RootSIFT, unit length, quantised


NO_FEATURES = Features(*(np.zeros(shape, np.float32) for shape in ((0, 2), (0,), (0,), (0, 128))))


def detect(gray: NDArray[np.uint8], ratio: float, limit: int) -> Features:
    """Detect at most ``limit`` features of ``gray`` (HW).

    Their coordinates and sizes are in pixels of an image ``ratio`` times as large.
    """
    sift = cv2.SIFT.create(limit, 3, CONTRAST_THRESHOLD, 10.0, 1.6, True)
    keypoints, raw = cast(
        tuple[list[cv2.KeyPoint], NDArray[np.float32] | None],
        sift.detectAndCompute(gray, None) if min(gray.shape) >= 8 else ([], None),  # type: ignore[call-overload]
    )
    if raw is None or not keypoints:
        return NO_FEATURES
    xy = np.array([keypoint.pt for keypoint in keypoints], np.float32)
    size = np.array([keypoint.size for keypoint in keypoints], np.float32)
    angle = np.deg2rad(np.array([keypoint.angle for keypoint in keypoints], np.float32))
    descriptor = np.sqrt(raw / np.maximum(raw.sum(axis=1, keepdims=True), 1e-6))
    descriptor = np.rint(descriptor * DESCRIPTOR_STEPS) / np.float32(DESCRIPTOR_STEPS)
    return Features(
        (xy + np.float32(0.5)) * np.float32(ratio) - np.float32(0.5),
        size * np.float32(ratio),
        angle,
        descriptor,
    )


def match(
    a: Features,
    b: Features,
    ratio: float,
    guide: NDArray[np.float32] | None = None,
    radius: float = 0.0,
) -> NDArray[np.intp]:
    """(M, 2) indices of features of ``a`` and their best match in ``b``, by Lowe's ratio test.

    With ``guide`` (N, 2), the predicted coordinates of the features of ``a``, only features of
    ``b`` within ``radius`` pixels of them and of about the same size are candidates.
    """
    if len(a.xy) == 0 or len(b.xy) < 2:
        return np.zeros((0, 2), np.intp)
    if guide is not None:
        return match_guided(a, b, ratio, guide, radius)
    found: list[NDArray[np.intp]] = []
    for start in range(0, len(a.xy), CHUNK_ROWS):
        similarity = a.descriptor[start : start + CHUNK_ROWS] @ b.descriptor.T
        rows, best = ratio_test(similarity, ratio)
        found.append(np.stack([rows + start, best], axis=1))
    return np.concatenate(found)


def match_guided(
    a: Features, b: Features, ratio: float, guide: NDArray[np.float32], radius: float
) -> NDArray[np.intp]:
    """``match`` with a guide: chunks of ``a``, sorted by x, against the features of ``b`` near."""
    order_a, order_b = np.argsort(guide[:, 0], kind="stable"), np.argsort(b.xy[:, 0], kind="stable")
    size_a, size_b = np.log(a.size), np.log(b.size)
    across_b = b.xy[order_b, 0]
    found = [np.zeros((0, 2), np.intp)]
    for start in range(0, len(order_a), GUIDED_CHUNK_ROWS):
        mine = order_a[start : start + GUIDED_CHUNK_ROWS]
        reach = guide[mine[[0, -1]], 0] + np.array([-radius, radius], np.float32)
        low, high = np.searchsorted(across_b, reach)
        near = np.sort(order_b[low:high])  # the first of equals wins, as in ``match``
        if len(near) == 0:
            continue
        gap = guide[mine, None, 0] - b.xy[None, near, 0]
        gap *= gap
        across = guide[mine, None, 1] - b.xy[None, near, 1]
        gap += np.multiply(across, across, out=across)
        refused = gap >= radius * radius
        growth = np.subtract(size_a[mine, None], size_b[None, near], out=gap)
        refused |= np.abs(growth, out=growth) > np.float32(np.log(2.0))
        similarity = a.descriptor[mine] @ b.descriptor[near].T
        similarity[refused] = -1.0
        rows, best = ratio_test(similarity, ratio)
        found.append(np.stack([mine[rows], near[best]], axis=1))
    pairs = np.concatenate(found)
    return pairs[np.argsort(pairs[:, 0])]


def ratio_test(
    similarity: NDArray[np.float32], ratio: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of a similarity matrix (N, M) that pass Lowe's ratio test, and the best column of each.

    Overwrites ``similarity``.
    """
    best = similarity.argmax(axis=1)
    rows = np.arange(len(best))
    first = similarity[rows, best]
    similarity[rows, best] = -1.0
    second = similarity.max(axis=1)
    distance = np.sqrt(np.maximum(2.0 - 2.0 * first, 0.0))
    second_distance = np.sqrt(np.maximum(2.0 - 2.0 * second, 0.0))
    good = (first > 0.0) & (distance < ratio * second_distance)
    return rows[good], best[good]


def similar_pose(a: Features, b: Features, pairs: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which matches (M, 2) have the most common zoom (within x1.9) and rotation (within 40 deg)."""
    zoom = np.log(b.size[pairs[:, 1]] / a.size[pairs[:, 0]])
    turn = b.angle[pairs[:, 1]] - a.angle[pairs[:, 0]]
    x, y = np.cos(turn), np.sin(turn)
    some = slice(None, None, max(1, len(pairs) // MAX_POSES))
    cosine = x[some, None] * x + y[some, None] * y  # of the angle between two turns
    agree = np.abs(zoom[some, None] - zoom) < np.log(1.9)
    agree &= cosine > np.cos(np.deg2rad(40.0))
    return agree[agree.sum(axis=1).argmax()]


def project(homography: NDArray[np.float64], xy: NDArray[Any]) -> Points:
    """Apply a 3x3 homography to points (..., 2)."""
    x, y = xy[..., 0].astype(np.float64), xy[..., 1].astype(np.float64)
    row = homography @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    depth = np.where(np.abs(row[2]) < 1e-9, 1e-9, row[2])
    return (row[:2] / depth).T.reshape(xy.shape)


def preserves_area(homography: NDArray[np.float64], xy: Points) -> bool:
    """Whether a homography keeps local area at the points (N, 2), about, and does not mirror.

    Between unrelated photos the best homography often collapses everything to a line or a point.
    """
    centre = project(homography, xy)
    step_x = project(homography, xy + np.array([1.0, 0.0])) - centre
    step_y = project(homography, xy + np.array([0.0, 1.0])) - centre
    area = step_x[:, 0] * step_y[:, 1] - step_x[:, 1] * step_y[:, 0]
    return bool(0.3 < np.median(area) < 3.3)  # a factor of 1.8 in length


def fit_homography(a: Points, b: Points, threshold: float) -> NDArray[np.float64] | None:
    """Fit a homography a -> b to points (N, 2) by MAGSAC, ``threshold`` in pixels; or None."""
    if len(a) < 4:
        return None
    try:
        found, _ = cv2.findHomography(a, b, cv2.USAC_MAGSAC, threshold, None, 5000, 0.9999)
    except cv2.error:  # OpenCV 5.0 asserts on some point sets that fit no model at all
        return None
    found = cast(NDArray[np.float64] | None, found)
    if found is None or not np.isfinite(found).all() or abs(np.linalg.det(found[:2, :2])) < 1e-6:
        return None
    return found


def fit_fundamental(a: Points, b: Points, threshold: float) -> NDArray[np.float64] | None:
    """Fit a fundamental matrix to points (N, 2) by MAGSAC, ``threshold`` in pixels; or None."""
    if len(a) < 12:
        return None
    try:
        found, _ = cv2.findFundamentalMat(a, b, cv2.USAC_MAGSAC, threshold, 0.9999, 5000)
    except cv2.error:  # as above: "!model.empty() in function 'setModelParameters'"
        return None
    found = cast(NDArray[np.float64] | None, found)
    if found is None or found.shape != (3, 3) or not np.isfinite(found).all():
        return None
    return found


def epipolar_error(fundamental: NDArray[np.float64], a: Points, b: Points) -> NDArray[np.float64]:
    """Sampson distance of each pair of points, in pixels: (N,)."""
    ah = np.concatenate([a, np.ones((len(a), 1))], axis=1)
    bh = np.concatenate([b, np.ones((len(b), 1))], axis=1)
    line_b, line_a = ah @ fundamental.T, bh @ fundamental
    scale = (line_a[:, :2] ** 2).sum(axis=1) + (line_b[:, :2] ** 2).sum(axis=1)
    return np.abs((bh * line_b).sum(axis=1)) / np.sqrt(np.maximum(scale, 1e-12))


def nearest_points(query: Points, points: Points, count: int) -> NDArray[np.intp]:
    """Indices (Q, count) of the points nearest to each query, in no particular order."""
    if count >= len(points):
        return np.tile(np.arange(len(points)), (len(query), 1))
    # A single k-d tree, exact (FLANN's algorithm 4): thousands of points in milliseconds
    tree: Any = cv2.flann.Index(points.astype(np.float32), {"algorithm": 4, "leaf_max_size": 16})
    found, _ = tree.knnSearch(query.astype(np.float32), count, params={"checks": -1})
    return found.astype(np.intp)


def local_affine(
    query: Points,
    points: Points,
    values: Points,
    weight: NDArray[np.float64],
    index: NDArray[np.intp],
    apart: float = -1.0,
) -> Points:
    """Values (Q, 2) at ``query`` of affine fits to the ``points`` given by ``index`` (Q, K).

    The fits are weighted by distance and by ``weight`` (N,); a ridge on the slope keeps the result
    bounded far from any point. Points within ``apart`` of the query are left out.
    """
    offset = points[index] - query[:, None]
    distance2 = (offset**2).sum(axis=2)
    reach2 = np.maximum(distance2.mean(axis=1, keepdims=True), 1e-6)
    kernel = weight[index] * np.exp(-distance2 / reach2) * (distance2 > apart**2 * np.sign(apart))
    kernel += 1e-9
    scaled = offset / np.sqrt(reach2)[..., None]
    basis = np.concatenate([np.ones((*scaled.shape[:2], 1)), scaled], axis=2)
    weighted = basis * kernel[..., None]
    normal = weighted.swapaxes(1, 2) @ basis
    total = kernel.sum(axis=1)
    for axis in (1, 2):
        normal[:, axis, axis] += 0.02 * total
    right = weighted.swapaxes(1, 2) @ values[index]
    return np.linalg.solve(normal, right)[:, 0]


def neighbor_consistency(
    a: Points, residual: Points, tolerance: float, count: int = 12
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which points move like their neighbors, and the error of each against them (N,).

    ``residual`` (N, 2) is that of a global homography. Each point is predicted by a robust affine
    fit to its nearest neighbors: that finds isolated wrong matches on their epipolar line.
    """
    weight = np.ones(len(a))
    error = np.zeros(len(a))
    index = nearest_points(a, a, count + 1)
    for _ in range(4):
        predicted = local_affine(a, a, residual, weight, index, apart=0.1)
        error = np.sqrt(((predicted - residual) ** 2).sum(axis=1))
        weight = 1.0 / (1.0 + (error / tolerance) ** 2) ** 2
    return error < 2.0 * tolerance, error


def sample_points(field: Field | Image, xy: NDArray[Any]) -> NDArray[np.float32]:
    """Sample a field or image at points (N, 2): (N[, C])."""
    if len(xy) == 0:
        return np.zeros((0, *field.shape[2:]), np.float32)
    return sample(field, xy[None].astype(np.float32))[0]
