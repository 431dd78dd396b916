"""The ComfyUI node of examples/, loaded and called as ComfyUI does it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from refsr import Upscaler
from refsr.resize import imresize
from scenes import facade, seen_through

torch = pytest.importorskip("torch", reason="needs the extra train")
NODE = Path(__file__).parents[1] / "examples" / "comfyui_refsr.py"
NEARER = np.array([[1.1, 0.02, -30.0], [0.01, 1.08, -22.0], [0.0, 0.0, 1.0]])


@pytest.fixture(scope="module")
def node() -> Any:
    spec = importlib.util.spec_from_file_location("comfyui_refsr", NODE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert set(module.NODE_CLASS_MAPPINGS) == set(module.NODE_DISPLAY_NAME_MAPPINGS)
    return module.NODE_CLASS_MAPPINGS["ReferenceUpscale"]()


def tensor(*pictures: NDArray[np.uint8]) -> Any:
    """What ComfyUI's LoadImage makes."""
    return torch.from_numpy(np.stack(pictures).astype(np.float32) / 255.0)


def call(node: Any, **given: Any) -> Any:
    """Call the node as ComfyUI does: by the names and defaults of its INPUT_TYPES."""
    types = node.INPUT_TYPES()
    known = {**types["required"], **types["optional"]}
    defaults = {
        name: one[1]["default"] if len(one) > 1 else one[0][0]
        for name, one in types["required"].items()
        if one[0] != "IMAGE"
    }
    assert set(given) <= set(known)
    return getattr(node, node.FUNCTION)(**{**defaults, **given})


def test_a_batch_with_a_reference(node: Any) -> None:
    small = imresize(facade(3)[:192, :256], scale=0.25)
    other = small[::-1].copy()
    sharp = seen_through(facade(3), NEARER, (512, 384))
    images, maps, words = call(node, image=tensor(small, other), reference=tensor(sharp))
    assert images.shape == maps.shape == (2, 192, 256, 3)
    assert images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1
    assert words.splitlines()[0].startswith("It covers")
    assert len(words.splitlines()) == 2
    upscaler = Upscaler.load()
    upscaler.set_reference(sharp)
    own = upscaler.upscale(small).image / np.float32(255)
    assert np.abs(images[0].numpy() - own).max() < 1.01 / 255, "the library's, with more bits"

    strict, _, _ = call(node, image=tensor(small), reference=tensor(sharp), strict=True)
    expected = upscaler.upscale(small, strict=True).image / np.float32(255)
    assert np.abs(strict[0].numpy() - expected).max() < 1.01 / 255
    assert not torch.equal(strict[0], images[0])

    faded, _, _ = call(node, image=tensor(small), reference=tensor(sharp), strength=0.0, scale="2")
    plain, _, none = call(node, image=tensor(small), scale="2")
    assert plain.shape == (1, 96, 128, 3)
    assert none == ""
    assert torch.equal(faded, plain)
