"""Muon for the convolutions, Adam for the rest, or Adam for all: torch's own, behind one step."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

Kind = Literal["adam", "muon"]


def as_matrix(weight: Tensor) -> Tensor:
    """A convolution's weight (O, I, kH, kW) as a matrix (O, kH*kW*I); shared if channels-last."""
    return weight.permute(0, 2, 3, 1).reshape(weight.shape[0], -1)


class Optimizers:
    """The optimizers of one network, stepped together.

    Muon (Jordan et al. 2024) replaces the update of a weight matrix by its nearest orthogonal
    matrix; ``torch.optim.Muon`` takes matrices only, so each convolution is lent to it as one. The
    last convolution, biases and norms stay with Adam. Both follow one learning rate: Muon's
    updates are scaled to the size of Adam's. The network must be channels-last, on its device.
    """

    def __init__(self, model: nn.Module, kind: Kind, offset_factor: float) -> None:
        """``offset_factor``: the offset estimators' learning rate, relative to the rest."""
        self.lent: list[tuple[Tensor, nn.Parameter]] = []
        matrices: dict[float, list[nn.Parameter]] = {1.0: [], offset_factor: []}
        others: dict[float, list[nn.Parameter]] = {1.0: [], offset_factor: []}
        for name, value in model.named_parameters():
            factor = offset_factor if "estimators." in name else 1.0
            if kind == "muon" and value.ndim == 4 and not name.startswith("out."):
                matrix = nn.Parameter(as_matrix(value.detach()))
                assert matrix.data_ptr() == value.data_ptr(), f"{name} is not channels-last"
                self.lent.append((value, matrix))
                matrices[factor].append(matrix)
            else:
                others[factor].append(value)
        self.each: list[torch.optim.Optimizer] = [
            torch.optim.Adam(groups_of(others), betas=(0.9, 0.99))
        ]
        if self.lent:
            self.each.append(
                torch.optim.Muon(
                    groups_of(matrices), weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
                )
            )

    def step(self, learning_rate: float) -> None:
        """One update from the gradients that the network's parameters hold."""
        for value, matrix in self.lent:
            matrix.grad = None if value.grad is None else as_matrix(value.grad)
        for optimizer in self.each:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * group["factor"]
            optimizer.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """Everything a resumed run needs."""
        return [optimizer.state_dict() for optimizer in self.each]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        """Continue from ``state``. Raises ValueError or KeyError where it does not fit."""
        for optimizer, part in zip(self.each, state, strict=True):
            optimizer.load_state_dict(part)


def groups_of(parameters: dict[float, list[nn.Parameter]]) -> list[dict[str, Any]]:
    """Parameter groups, each with the ``factor`` of its learning rate."""
    return [{"params": part, "factor": factor} for factor, part in parameters.items() if part]
