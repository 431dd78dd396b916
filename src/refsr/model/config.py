"""The network's configuration, and reading frozen dataclasses from tables. No torch."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from refsr.errors import DataError


@dataclass(frozen=True)
class SSENConfig:
    """Architecture of the network; what the paper leaves open is an option here."""

    channels: int = 64  # of every feature map
    feature_blocks: int = 5  # residual blocks of the extractor that LR and reference share
    trunk: Literal["edsr", "rcan"] = "edsr"  # reconstruction after fusion; see trunk.py
    reconstruction_blocks: int = 16  # residual blocks of the edsr trunk
    rcan_groups: int = 10  # residual groups of the rcan trunk
    rcan_blocks: int = 20  # channel-attention blocks in each group
    rcan_reduction: int = 16  # of the channels inside the attention
    fusion: bool = True  # off: no reference path at all, the trunk alone (RCAN, EDSR)
    ref_inputs: Literal["rgb", "rgb_difference_validity"] = "rgb_difference_validity"  # paper: rgb
    deform_layers: int = 3  # stacked deformable convolutions; 3 is the paper's best
    deform_residual: bool = True  # a skip around each of them; off: the paper
    deform_groups: int = 1  # channel groups, each with its own offsets
    offset_channels: int = 64  # of the offset estimator
    nonlocal_blocks: bool = True  # in the offset estimator
    modulation: bool = True  # off: deformable convolution without modulation (DCNv1)
    modulation_bias: float = 2.0  # sigmoid(2) = 0.88 at first; 0: one half, as DCNv2 does
    skip: Literal["add", "concat"] = "add"  # of the estimator's skip connections
    attention_window: int = 32  # LR pixels a side of a non-local block's window; 0: global (paper)
    attention_scaled: bool = True  # products over sqrt(channels); off: Wang et al. 2018 (paper)
    hr_transfer: bool = True  # gated HR detail; off: the reference acts at LR resolution only
    self_reference: bool = True  # without a reference, the photo is its own; off: it has none
    conditions: int = 0  # numbers that it is told of the photo; see degradation/condition.py

    def __post_init__(self) -> None:
        """Raises DataError for sizes that do not fit together."""
        for name, divisor in (("channels", 4), ("offset_channels", 2), ("attention_window", 8)):
            if getattr(self, name) % divisor:
                raise DataError(f"{name} = {getattr(self, name)} must be a multiple of {divisor}.")
        if self.deform_groups < 1 or self.channels % self.deform_groups:
            raise DataError(
                f"deform_groups = {self.deform_groups} must divide channels = {self.channels}."
            )
        if self.conditions and self.trunk != "edsr":
            raise DataError("Only the edsr trunk can be told conditions.")
        if self.trunk == "rcan" and not 1 <= self.rcan_reduction <= self.channels:
            raise DataError(
                f"rcan_reduction = {self.rcan_reduction} must be 1 to channels = {self.channels}."
            )

    @property
    def multiple(self) -> int:
        """Input height and width must be a multiple of this many LR pixels."""
        return self.attention_window or 8


RENAMED = {"foreign": "mismatched"}  # keys of older training configurations


def quote(value: object) -> str:
    """A value as an error message quotes it, shortened if long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def from_dict(kind: type[Any], values: dict[str, Any], where: str) -> Any:
    """The dataclass ``kind`` from a table. Raises DataError for unknown keys and wrong types."""
    hints = get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]
    known: dict[str, Any] = {}
    for key, value in values.items():
        if key not in names:
            near = [n for n in names if n == RENAMED.get(key)]
            near = near or difflib.get_close_matches(key, names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(names)}."
            raise DataError(f"Unknown key {quote(key)} in {where}{hint}")
        expected = hints[key]
        if isinstance(expected, type) and dataclasses.is_dataclass(expected):
            if not isinstance(value, dict):
                raise DataError(f"{key!r} in {where} must be a table, not {quote(value)}.")
            known[key] = from_dict(expected, value, f"{where} [{key}]")
        elif get_origin(expected) is Literal:
            if value not in get_args(expected):
                choices = ", ".join(map(repr, get_args(expected)))
                raise DataError(f"{key!r} in {where} must be one of {choices}, not {quote(value)}.")
            known[key] = value
        elif expected == tuple[str, ...]:
            if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
                raise DataError(f"{key!r} in {where} must be a list of str, not {quote(value)}.")
            known[key] = tuple(value)
        elif expected is float and type(value) is int:
            known[key] = float(value)
        elif expected in (int, float, str, bool) and type(value) is not expected:
            raise DataError(
                f"{key!r} in {where} must be of type {expected.__name__}, not {quote(value)}."
            )
        else:
            known[key] = value
    return kind(**known)
