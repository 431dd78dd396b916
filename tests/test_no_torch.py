"""The inference half, in a Python where torch and every other extra cannot be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ABSENT = """
import sys

class Absent:
    '''A finder that comes first and makes every package of the extras look uninstalled.'''

    names = {"torch", "torchvision", "safetensors", "tensorboard", "onnx", "onnxscript",
             "ray", "starlette", "uvicorn", "python_multipart", "skimage", "scipy", "matplotlib"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None

sys.meta_path.insert(0, Absent())
"""


def python(code: str, folder: Path) -> str:
    """What ``code`` prints in a fresh interpreter without the extras; fails where it fails."""
    result = subprocess.run(
        [sys.executable, "-c", ABSENT + code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_finder_hides_torch(tmp_path: Path) -> None:
    code = "\ntry:\n    import torch\nexcept ImportError as error:\n    print(error.name)"
    assert python(code, tmp_path) == "torch\n"


@pytest.mark.parametrize(
    "module",
    [
        "refsr.batch.runner",
        "refsr.cli",
        "refsr.batch.ray_engine",
        "refsr.upscaler",
        "refsr.image.photo",
        "refsr.registration.register",
        "refsr.report.report",
        "refsr.inference.network",
        "refsr.weights.models",
        "refsr.data.build",
        "refsr.data.check",
        "refsr.evaluate.run",
        "refsr.report.figure",
    ],
)
def test_imports(module: str, tmp_path: Path) -> None:
    python(f"import {module}", tmp_path)


def test_upscales_without_and_with_a_reference(tmp_path: Path) -> None:
    code = """
import numpy as np
from refsr import Upscaler

rng = np.random.default_rng(0)
hr = np.kron(rng.integers(0, 255, (24, 32, 3)), np.ones((4, 4, 1))).astype(np.uint8)
upscaler = Upscaler.load()
for reference in (None, [hr]):
    upscaler.set_reference(reference)
    image = upscaler.upscale(hr[::4, ::4]).image
    print(image.shape, image.dtype)
"""
    assert python(code, tmp_path) == "(96, 128, 3) uint8\n" * 2


def test_the_command_line_runs(tmp_path: Path) -> None:
    code = """
from PIL import Image
from refsr.cli import main

Image.linear_gradient("L").resize((20, 14)).convert("RGB").save("small.png")
print(main(["upscale", "small.png", "-o", "out.png", "--quiet"]), Image.open("out.png").size)
"""
    assert python(code, tmp_path) == "0 (80, 56)\n"


def test_training_says_what_to_install(tmp_path: Path) -> None:
    code = """
import contextlib
import io
from refsr.cli import main

with contextlib.redirect_stderr(io.StringIO()) as words:
    print(main(["train", "config.toml"]))
print("pip install 'refsr[train]'" in words.getvalue())
"""
    assert python(code, tmp_path) == "1\nTrue\n"


def test_the_page_says_what_to_install(tmp_path: Path) -> None:
    code = """
import contextlib
import io
from refsr.cli import main

with contextlib.redirect_stderr(io.StringIO()) as words:
    print(main(["web"]))
print("pip install 'refsr[web]'" in words.getvalue())
"""
    assert python(code, tmp_path) == "1\nTrue\n"


def test_importing_the_package_loads_nothing_heavy(tmp_path: Path) -> None:
    code = """
import refsr
from refsr import RefsrError

print([name for name in ("numpy", "cv2", "onnxruntime", "PIL", "tyro") if name in sys.modules])
"""
    assert python(code, tmp_path) == "[]\n"
