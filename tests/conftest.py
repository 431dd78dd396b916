"""Fixtures that several test files share."""

from __future__ import annotations

import importlib.util
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

# A shell's background job ignores Ctrl-C, and so does what it starts: the tests that interrupt a
# process would find it deaf.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MISSING = {"posix": sys.platform == "win32", "linux": sys.platform != "linux"}
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the tests of what this system does not have."""
    for name, missing in MISSING.items():
        if missing and item.get_closest_marker(name):
            pytest.skip(f"needs {name}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photos beside the repository; its tests skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the folder of real photos is not here ({SHARED_DATA})")
    return SHARED_DATA


@pytest.fixture(scope="session")
def scripts() -> Callable[[str], ModuleType]:
    """Loads a program of ``tools/`` or ``research/`` by its name, to call its functions."""

    def loaded(name: str) -> ModuleType:
        root = Path(__file__).parents[1]
        (path,) = [*root.glob(f"tools/{name}.py"), *root.glob(f"research/{name}.py")]
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))  # a program finds those beside it
        spec.loader.exec_module(module)
        return module

    return loaded


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20200614)


@pytest.fixture(scope="session")
def natural() -> NDArray[np.uint8]:
    """A photo-like RGB image (HWC uint8, 192x256): smooth color, edges and fine texture."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0:192, 0:256].astype(np.float64)
    image = np.stack([110 + 60 * np.sin(x / 37 + i) * np.cos(y / 53 - i) for i in range(3)], -1)
    for _ in range(25):
        left, top = rng.integers(0, 230), rng.integers(0, 170)
        width, height = rng.integers(6, 70, 2)
        image[top : top + height, left : left + width] += rng.uniform(-60, 60, 3)
    image += 18 * np.sin(x * 0.9 + 0.3 * y)[..., None] * (y > 120)[..., None]
    image += rng.normal(0, 4, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)
