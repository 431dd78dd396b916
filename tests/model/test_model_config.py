"""Network configurations: sizes that do not fit, and those of the repository."""

import dataclasses
from pathlib import Path

import pytest
import torch

from networks import THREE_LAYERS
from refsr.errors import DataError
from refsr.model.ssen import SSEN
from refsr.train.config import load_config

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"deform_groups": 3}, "deform_groups = 3 must divide channels = 8"),
        ({"attention_window": 12}, "attention_window = 12 must be a multiple of 8"),
        ({"channels": 6}, "channels = 6 must be a multiple of 4"),
        ({"trunk": "rcan", "rcan_reduction": 16}, "rcan_reduction = 16 must be 1 to channels = 8"),
    ],
)
def test_sizes_that_do_not_fit_are_said(change: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        dataclasses.replace(THREE_LAYERS, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs").rglob("*.toml")), ids=lambda path: path.stem
)
def test_every_configuration_builds_its_network(path: Path) -> None:
    config = load_config(path)
    with torch.device("meta"):  # shapes alone: RCAN of the paper has 17 M parameters
        layers = config.model.deform_layers if config.model.fusion else 0
        assert len(SSEN(config.model).estimators) == layers
