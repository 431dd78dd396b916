"""A ComfyUI node: upscaling with the detail of reference images of the same subject.

Copy this file into ComfyUI/custom_nodes/, and install refsr into ComfyUI's Python. Images are
tensors (B, H, W, 3) there, float32 in 0..1. See docs/COMFYUI.md.
"""

from typing import Any

import numpy as np
import torch

from refsr import Upscaler


def to_array(image: torch.Tensor) -> np.ndarray:
    """A tensor (H, W, 3 or more), 0..1, as RGB uint16, which is exact for 8-bit images."""
    rgb = image[..., :3].detach().cpu().numpy()
    return np.rint(rgb.clip(0, 1) * 65535).astype(np.uint16)


class ReferenceUpscale:
    """Upscales each image of a batch with all images of the reference batch."""

    CATEGORY = "image/upscaling"
    RETURN_TYPES = ("IMAGE", "IMAGE", "STRING")
    RETURN_NAMES = ("image", "map", "verdict")
    FUNCTION = "upscale"

    def __init__(self) -> None:
        self.upscaler: Upscaler | None = None  # loaded once: ComfyUI keeps the node between runs

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """The inputs of the node, as ComfyUI declares them."""
        strength = {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.05}
        return {
            "required": {
                "image": ("IMAGE",),
                "scale": (["4", "3", "2", "1"],),
                "strength": ("FLOAT", strength),
                "look": (["true", "crisp"],),
                "strict": ("BOOLEAN", {"default": False}),
            },
            "optional": {"reference": ("IMAGE",)},
        }

    def upscale(
        self,
        image: torch.Tensor,
        scale: str,
        strength: float,
        look: str,
        strict: bool,
        reference: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, str]:
        """Images and maps (B, scale * H, scale * W, 3), 0..1, and one verdict per reference."""
        if self.upscaler is None or self.upscaler.look != look:
            self.upscaler = Upscaler.load(look=look)
        given = [] if reference is None else [to_array(one) for one in reference]
        self.upscaler.set_reference(given)
        results = [
            self.upscaler.upscale(to_array(one), scale=int(scale), strength=strength, strict=strict)
            for one in image
        ]
        images = [torch.from_numpy(one.image / np.float32(65535)) for one in results]
        maps = [torch.from_numpy(one.map() / np.float32(255)) for one in results]
        verdicts = [row["verdict"] for one in results for row in one.report["references"]]
        return torch.stack(images), torch.stack(maps), "\n".join(verdicts)


NODE_CLASS_MAPPINGS = {"ReferenceUpscale": ReferenceUpscale}
NODE_DISPLAY_NAME_MAPPINGS = {"ReferenceUpscale": "Upscale with references (refsr)"}
