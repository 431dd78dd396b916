"""``refsr train`` and ``refsr export``: from a configuration to a model."""

from __future__ import annotations

from typing import Literal

from refsr.cli.arguments import Input, Output, command
from refsr.errors import DataError


@command
def train(config: Input, resume: Literal["auto", "never"] = "never") -> None:
    """Train a network from a TOML configuration. Needs the extra `train`.

    Args:
        config: The configuration: output folder, network, data and schedule; see configs/.
        resume: auto continues an earlier run in the output folder where it stopped.
    """
    need_torch()
    from refsr.train.config import load_config
    from refsr.train.distributed import is_first
    from refsr.train.loop import train as run

    folder = run(load_config(config), resume == "auto")
    if is_first():
        weights = sorted(path.name for path in folder.glob("*.safetensors"))
        print(f"{folder}: {', '.join(weights)}, log.jsonl")


@command
def export(checkpoint: Input, out: Output, note: str = "", half: bool = False) -> None:
    """Export a checkpoint (.safetensors) to an ONNX model. Needs the extra `train`.

    Args:
        checkpoint: Weights written by `refsr train`, or an exported model.
        out: The .onnx file; its model card (.json) is written beside it.
        note: A sentence for the model card: training data, hours, purpose.
        half: Store the weights in 16 bits, which halves the file; computation stays in 32 bits.
    """
    need_torch()
    from refsr.model.export import export_checkpoint

    error = export_checkpoint(checkpoint, out, note, half)
    print(f"{out}: largest difference from PyTorch {error:.1e}")


def need_torch() -> None:
    """Raises DataError with what to install where torch is missing."""
    try:
        import safetensors  # noqa: F401  # pyright: ignore[reportUnusedImport]
        import torch  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise DataError(
            f"{error.name} is missing; install it with: pip install 'refsr[train]'"
        ) from error
