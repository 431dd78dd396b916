"""``refsr info`` and ``refsr demo``: what is installed, and whether it works."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from refsr import __version__
from refsr.cli.arguments import command
from refsr.cli.output import to_json


@command
def info(json: bool = False) -> None:
    """Show versions, runtimes and models.

    Args:
        json: Print one JSON object on stdout.
    """
    import platform

    import cv2
    import numpy
    import onnxruntime

    from refsr.inference.network import describe_runtimes
    from refsr.weights.models import find_model, shipped

    facts: dict[str, Any] = {
        "refsr": __version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "opencv": cv2.__version__,
        "onnxruntime": onnxruntime.__version__,
        "providers": onnxruntime.get_available_providers(),
        **describe_runtimes(),
        "models": {name: find_model(name).card for name in shipped()},
    }
    if json:
        print(to_json(facts))
        return
    for key, value in facts.items():
        if key != "models":
            print(f"{key:12} {', '.join(value) if isinstance(value, list) else value}")
    for name, card in facts["models"].items():
        size = f"{card['parameters'] / 1e6:.2f} M parameters"
        print(f"model {name:12} x{card['scale']}, {size}. {card['note']}")
    print("model detail-transfer, no network: bicubic plus the reference's fine detail")


@command
def demo(out: Annotated[Path, arg(aliases=["-o"])] = Path("demo_out")) -> None:
    """Upscale a sample photo. Needs the extra `demo`, which contains it.

    Args:
        out: Folder for the images and metrics; created if missing.
    """
    from refsr.cli.demo import run_demo

    print(run_demo(out))
