"""A model between two others: each weight a mean of theirs.

    python research/mix_weights.py A.onnx B.onnx SHARE_OF_B OUT.onnx

Two networks that were trained on from the same weights, one for clean and one for damaged photos,
have a mean that does both (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).
What OUT's card says of training, faithfulness and purpose is B's.
"""

from __future__ import annotations

import sys
from pathlib import Path

from refsr.model.checkpoint import load_weights
from refsr.model.export import export
from refsr.weights.models import find_model


def main(first: str, second: str, share: str, out: str) -> None:
    """Write the mix and its card, weights in 16 bits."""
    a, (model, about) = load_weights(Path(first))[0].state_dict(), load_weights(Path(second))
    mixed = {
        name: a[name] + float(share) * (value - a[name])
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(mixed)
    card = find_model(second).card
    facts = {"note": card["note"], "faithful": card["faithful"], "training": about}
    error = export(model, Path(out), facts, half=True)
    print(f"{out}: equals torch within {error:.1e}")


if __name__ == "__main__":
    main(*sys.argv[1:])
