"""Interpolates the weights of two models, as for ssen-robust.

    python research/mix_weights.py A.onnx B.onnx SHARE_OF_B OUT.onnx

Two networks fine-tuned from the same weights, one on clean and one on degraded photos, can be
interpolated to one that does both (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR
2022). OUT's card takes over B's facts on training, faithfulness and purpose.
"""

from __future__ import annotations

import sys
from pathlib import Path

from refsr.model.checkpoint import load_weights
from refsr.model.export import export
from refsr.weights.models import find_model


def main(first: str, second: str, share: str, out: str) -> None:
    """Write the model and its card, with float16 weights."""
    a, (model, metadata) = load_weights(Path(first))[0].state_dict(), load_weights(Path(second))
    mixed = {
        name: a[name] + float(share) * (value - a[name])
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(mixed)
    card = find_model(second).card
    facts = {"note": card["note"], "faithful": card["faithful"], "training": metadata}
    error = export(model, Path(out), facts, half=True)
    print(f"{out}: equal to torch within {error:.1e}")


if __name__ == "__main__":
    main(*sys.argv[1:])
