"""torch: on a GPU of NVIDIA or Apple in 16 bits, on the processor in float32.

The weights are those in the exported ONNX file. A tile whose 16-bit result is not finite is
computed again in float32.
"""

from __future__ import annotations

from typing import Any

from refsr.arrays import Image
from refsr.errors import ModelError
from refsr.inference.network import Inputs
from refsr.weights.models import Model


class TorchSession:
    """A model in torch; see ``refsr.inference.network.Session``."""

    least_bytes = 7_000
    program_bytes = 300_000_000

    def __init__(self, model: Model, device: str, threads: int) -> None:
        """``threads`` is set for the whole process. Raises ModelError where loading fails."""
        import torch

        try:
            from refsr.model.checkpoint import load_weights
        except ImportError as error:
            raise ModelError(
                f"{error.name} is missing; install it with: pip install 'refsr[train]'"
            ) from error
        self.device = torch_device(device)
        if self.device == "cpu":
            torch.set_num_threads(threads)
        self.type: torch.dtype | None = None  # of the features; None: float32
        if self.device == "cuda":
            self.type = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        elif self.device == "mps":
            self.type = torch.float16
        network: Any = load_weights(model.path)[0]
        self.network: Any = network.to(self.device, memory_format=torch.channels_last)
        name = "float32" if self.type is None else str(self.type).removeprefix("torch.")
        self.provider = f"torch, {self.device} {name}"

    def run(self, inputs: Inputs, release: bool) -> tuple[Image, Image]:
        """See ``refsr.inference.network.Session.run``."""
        import torch

        tile = {name: torch.from_numpy(part).to(self.device) for name, part in inputs.items()}
        with torch.inference_mode():
            sr, gate = self.forward(tile, self.type)
            if self.type is not None and not bool(torch.isfinite(sr).all()):
                sr, gate = self.forward(tile, None)
            outputs = sr.float().cpu().numpy(), gate.float().cpu().numpy()
        if release and self.device == "cuda":
            torch.cuda.empty_cache()
        return outputs

    def forward(self, tile: dict[str, Any], type: Any) -> tuple[Any, Any]:
        """sr and gate, computed in a 16-bit ``type`` (autocast), or in float32 (None)."""
        import torch

        with torch.autocast(self.device, type or torch.bfloat16, enabled=type is not None):
            return self.network(**tile)


def torch_device(device: str) -> str:
    """The torch device for one of ``network.Device``. Raises ModelError where it is missing."""
    import torch

    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device == "auto":
        return next(name for name, there in available.items() if there)
    if not available[device]:
        raise ModelError(
            f"torch has no {device} support here; install a torch with it or use --device cpu."
        )
    return device
