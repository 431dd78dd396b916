"""refsr makes a small photo four times larger with the real detail of another photo of it.

    from refsr import Upscaler

    upscaler = Upscaler.load()
    upscaler.set_reference("sharp.jpg")
    upscaler.upscale("small.jpg").image

Importing the package loads neither OpenCV nor a runtime: ``Upscaler`` is fetched when first named.
It tells ONNX Runtime, should that be loaded later, to report to nobody.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from refsr.errors import Cancelled, RefsrError

if TYPE_CHECKING:
    from refsr.upscaler import Upscaler

__version__ = "0.1.0"
__all__ = ["Cancelled", "RefsrError", "Upscaler", "__version__"]

# From 1.32 on ONNX Runtime notes its use in ~/.cache/Microsoft, for Microsoft; read when it loads.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    if name == "Upscaler":
        from refsr.upscaler import Upscaler

        return Upscaler
    raise AttributeError(f"module 'refsr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
