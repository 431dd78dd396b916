"""The shape of a network, and how configurations are read: frozen dataclasses, no torch."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from refsr.errors import DataError


@dataclass(frozen=True)
class SSENConfig:
    """Shape of the network. The paper leaves some of it open; each of those is a switch here."""

    channels: int = 64  # of every feature map
    feature_blocks: int = 5  # residual blocks of the extractor that LR and reference share
    trunk: Literal["edsr", "rcan"] = "edsr"  # what reconstructs after fusion; see trunk.py
    reconstruction_blocks: int = 16  # residual blocks of the edsr trunk
    rcan_groups: int = 10  # residual groups of the rcan trunk
    rcan_blocks: int = 20  # channel-attention blocks in each group
    rcan_reduction: int = 16  # of the channels inside their attention
    deform_layers: int = 3  # stacked deformable convolutions; the paper finds 3 best
    deform_groups: int = 1  # channel groups with offsets of their own
    offset_channels: int = 64  # inside the offset estimator
    nonlocal_blocks: bool = True  # in the offset estimator
    modulation: bool = True  # off: plain deformable convolution (DCNv1)
    skip: Literal["add", "concat"] = "add"  # how the estimator's way up takes its skips
    attention_window: int = 32  # LR pixels a non-local block sees; 0: everything, as in the paper
    hr_transfer: bool = True  # the HR gate; off: the reference acts at LR resolution alone

    def __post_init__(self) -> None:
        """Raises DataError, in one sentence, for sizes that do not fit together."""
        for name, divisor in (("channels", 4), ("offset_channels", 2), ("attention_window", 8)):
            if getattr(self, name) % divisor:
                raise DataError(f"{name} = {getattr(self, name)} must be a multiple of {divisor}.")
        if self.deform_groups < 1 or self.channels % self.deform_groups:
            raise DataError(
                f"deform_groups = {self.deform_groups} must divide channels = {self.channels}."
            )
        if self.trunk == "rcan" and not 1 <= self.rcan_reduction <= self.channels:
            raise DataError(
                f"rcan_reduction = {self.rcan_reduction} must be 1 to channels = {self.channels}."
            )

    @property
    def multiple(self) -> int:
        """Input height and width must be a multiple of this many LR pixels."""
        return self.attention_window or 8


def quoted(value: object) -> str:
    """A wrong value for an error, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def from_dict(kind: type[Any], values: dict[str, Any], where: str) -> Any:
    """Build a config dataclass from a table; unknown keys and wrong types raise DataError."""
    hints = get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]
    known: dict[str, Any] = {}
    for key, value in values.items():
        if key not in names:
            near = difflib.get_close_matches(key, names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(names)}."
            raise DataError(f"Unknown key {quoted(key)} in {where}{hint}")
        wanted = hints[key]
        if isinstance(wanted, type) and dataclasses.is_dataclass(wanted):
            if not isinstance(value, dict):
                raise DataError(f"{key!r} in {where} must be a table, not {quoted(value)}.")
            known[key] = from_dict(wanted, value, f"{where} [{key}]")
        elif get_origin(wanted) is Literal:
            if value not in get_args(wanted):
                choices = ", ".join(map(repr, get_args(wanted)))
                raise DataError(
                    f"{key!r} in {where} must be one of {choices}, not {quoted(value)}."
                )
            known[key] = value
        elif wanted == tuple[str, ...]:
            if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
                raise DataError(f"{key!r} in {where} must be a list of str, not {quoted(value)}.")
            known[key] = tuple(value)
        elif wanted is float and type(value) is int:
            known[key] = float(value)
        elif wanted in (int, float, str, bool) and type(value) is not wanted:
            raise DataError(f"{key!r} in {where} must be a {wanted.__name__}, not {quoted(value)}.")
        else:
            known[key] = value
    return kind(**known)
