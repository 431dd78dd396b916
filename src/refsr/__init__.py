"""refsr makes a small photo four times larger with the real detail of another photo of it.

    from refsr import Upscaler

    upscaler = Upscaler.load()
    references = upscaler.prepare("sharp.jpg")
    upscaler.upscale("small.jpg", references=references).image

Importing the package loads neither OpenCV nor a runtime: ``Upscaler`` is fetched when first named.
It tells ONNX Runtime, should that be loaded later, to report to nobody.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from refsr.errors import Cancelled, DataError, ModelError, PhotoError, RefsrError

if TYPE_CHECKING:
    from refsr.image.photo import Source
    from refsr.registration.references import References
    from refsr.report.report import Report
    from refsr.result import Result
    from refsr.upscaler import Check, Upscaler

__version__ = "0.1.0"
__all__ = [
    "Cancelled",
    "Check",
    "DataError",
    "ModelError",
    "PhotoError",
    "References",
    "RefsrError",
    "Report",
    "Result",
    "Source",
    "Upscaler",
    "__version__",
]
_LAZY = {  # what loads OpenCV, by the module that has it
    "Check": "refsr.upscaler",
    "References": "refsr.registration.references",
    "Report": "refsr.report.report",
    "Result": "refsr.result",
    "Source": "refsr.image.photo",
    "Upscaler": "refsr.upscaler",
}

# From 1.32 on ONNX Runtime notes its use in ~/.cache/Microsoft, for Microsoft; read when it loads.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'refsr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
