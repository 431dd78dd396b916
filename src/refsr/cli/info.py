"""Commands for who has just installed it: what is here, and does it work?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from refsr import __version__
from refsr.cli.output import dump


def info(json: bool = False) -> None:
    """Show versions, runtimes and models.

    Args:
        json: Print one JSON object.
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
        print(dump(facts))
        return
    for key, value in facts.items():
        if key != "models":
            print(f"{key:12} {', '.join(value) if isinstance(value, list) else value}")
    for name, card in facts["models"].items():
        size = f"{card['parameters'] / 1e6:.2f} M parameters"
        print(f"model {name:12} x{card['scale']}, {size}. {card['note']}")
    print("model detail-transfer, no network: bicubic and the reference's fine detail")


def demo(out: Annotated[Path, arg(aliases=["-o"])] = Path("demo_out")) -> None:
    """Run the whole road once on a photo that comes with a dependency.

    Args:
        out: Folder for the pictures and numbers; made if missing.
    """
    from refsr.cli.demo import run_demo

    print(run_demo(out))
