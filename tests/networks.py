"""The network that the tests use: as small as one with every part can be."""

import dataclasses
import json
import re
from pathlib import Path

import torch
from torch import nn

from refsr.model.config import SSENConfig
from refsr.model.ssen import SSEN

TINY = SSENConfig(
    channels=8,
    feature_blocks=1,
    reconstruction_blocks=1,
    deform_layers=1,
    offset_channels=8,
    attention_window=8,
)
THREE_LAYERS = dataclasses.replace(TINY, deform_layers=3)
RCAN_TRUNK = {"trunk": "rcan", "rcan_groups": 2, "rcan_blocks": 1, "rcan_reduction": 2}


def tiny_toml() -> str:
    """The tiny network's configuration as a TOML table."""
    values = dataclasses.asdict(TINY).items()
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in values)


def network(config: SSENConfig = THREE_LAYERS, trunk: nn.Module | None = None) -> SSEN:
    """A tiny network whose offsets, attention and FiLM are not zero, as after training."""
    torch.manual_seed(5)
    model = SSEN(config, trunk).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(("estimators.", "film.")):
                parameter.normal_(0.0, 0.1)
    return model


def documented_trunk() -> type[nn.Module]:
    """The third trunk of docs/PAPER.md, as a reader would copy it."""
    page = (Path(__file__).parents[1] / "docs" / "PAPER.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    assert len(code.splitlines()) < 30
    names: dict[str, type[nn.Module]] = {}
    exec(code, names)
    return names["DenseTrunk"]
