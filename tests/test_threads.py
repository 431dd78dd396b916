"""The bits of a result do not hang on the threads of the BLAS library."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image

from refsr.registration.matching import detect
from refsr.resize import imresize
from scenes import facade, seen_through

NEARER = np.array([[1.1, 0.02, -30.0], [0.01, 1.08, -22.0], [0.0, 0.0, 1.0]])


def test_a_result_is_the_same_with_one_and_two_blas_threads(tmp_path: Path) -> None:
    small, sharp = tmp_path / "small.png", tmp_path / "sharp.png"
    PIL.Image.fromarray(imresize(facade(3)[:256, :384], scale=0.25)).save(small)
    PIL.Image.fromarray(seen_through(facade(3), NEARER, (512, 384))).save(sharp)
    found: list[bytes] = []
    for threads in ("1", "2"):
        out = tmp_path / f"{threads}.png"
        # OpenBLAS's kernels for processors without AVX-512 sum differently where two threads
        # share a product; those with it do not, so there the test could not fail with its own.
        blas = {"OPENBLAS_NUM_THREADS": threads, "OPENBLAS_CORETYPE": "Haswell"}
        command = [sys.executable, "-m", "refsr", "upscale", small, "--ref", sharp, "-o", out]
        subprocess.run([*command, "--quiet"], env={**os.environ, **blas}, check=True)
        found.append(out.read_bytes())
    assert found[0] == found[1]


def test_similarities_are_exact_in_any_order() -> None:
    descriptor = detect(np.ascontiguousarray(facade(3)[..., 1]), 1.0, 500).descriptor
    assert len(descriptor) == 500
    exact = descriptor.astype(np.float64) @ descriptor.T.astype(np.float64)
    np.testing.assert_array_equal(descriptor @ descriptor.T, exact)
    np.testing.assert_array_equal(descriptor.astype(np.float16).astype(np.float32), descriptor)
    np.testing.assert_allclose(np.diagonal(exact), 1.0, atol=0.003)
