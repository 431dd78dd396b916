"""The optimizers: Muon for the convolutions and Adam for the rest, or Adam for all."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

Kind = Literal["adam", "muon"]
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan's coefficients for five iterations


def as_matrix(weight: Tensor) -> Tensor:
    """A convolution's weight (O, I, kH, kW) as a matrix (O, kH*kW*I); a view if channels-last."""
    return weight.permute(0, 2, 3, 1).reshape(weight.shape[0], -1)


def orthogonalize(matrix: Tensor) -> Tensor:
    """Approximates the nearest orthogonal matrix (O, I): singular values 0.7 to 1.2."""
    a, b, c = NEWTON_SCHULZ
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024): a matrix's update is the orthogonal one nearest to its momentum.

    ``torch.optim.Muon`` with ``adjust_lr_fn="match_rms_adamw"`` and no weight decay, but in
    float32: torch's computes in bfloat16, which is twelve times slower (a third of a whole training
    step) on a processor that emulates it. Their states are interchangeable.
    """

    def __init__(self, params: Iterable[Any], momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": 1e-3, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One update of every matrix that has a gradient; ``closure`` is ignored."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(matrix.grad)
                mean = state["momentum_buffer"].lerp_(matrix.grad, 1.0 - group["momentum"])
                update = orthogonalize(matrix.grad.lerp(mean, group["momentum"]))
                scale = 0.2 * math.sqrt(
                    max(matrix.shape)
                )  # to the root mean square of Adam's updates
                matrix.add_(update, alpha=-group["lr"] * scale)


class Optimizers:
    """The optimizers of one network, stepped together.

    Muon takes matrices only, so it gets each convolution's weight as one. The last convolution and
    the biases stay with Adam, and so does what conditions change. Both use one learning rate:
    Muon's updates are scaled to the size of Adam's. The network must be channels-last and on its
    device.
    """

    def __init__(
        self,
        model: nn.Module,
        kind: Kind,
        offset_factor: float,
        film_factor: float = 1.0,
        beta2: float = 0.99,
    ) -> None:
        """``offset_factor``: the offset estimators' learning rate, relative to the rest;
        ``film_factor``: that of what conditions change. ``beta2``: of Adam."""
        self.matrices: list[tuple[Tensor, nn.Parameter]] = []
        factors = {"estimators": offset_factor, "film": film_factor}
        groups = (1.0, *factors.values())
        muon: dict[float, list[nn.Parameter]] = {factor: [] for factor in groups}
        adam: dict[float, list[nn.Parameter]] = {factor: [] for factor in groups}
        for name, value in model.named_parameters():
            factor = factors.get(name.split(".")[0], 1.0)
            if kind == "muon" and value.ndim == 4 and not name.startswith(("out.", "film.")):
                matrix = nn.Parameter(as_matrix(value.detach()))
                assert matrix.data_ptr() == value.data_ptr(), f"{name} is not channels-last"
                self.matrices.append((value, matrix))
                muon[factor].append(matrix)
            else:
                adam[factor].append(value)
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Adam(parameter_groups(adam), betas=(0.9, beta2))
        ]
        if self.matrices:
            self.optimizers.append(Muon(parameter_groups(muon)))

    def step(self, learning_rate: float) -> None:
        """One update from the gradients that the network's parameters hold."""
        for value, matrix in self.matrices:
            matrix.grad = None if value.grad is None else as_matrix(value.grad)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * group["factor"]
            optimizer.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """Everything a resumed run needs."""
        return [optimizer.state_dict() for optimizer in self.optimizers]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        """Continue from ``state``. Raises ValueError or KeyError where it does not fit."""
        for optimizer, part in zip(self.optimizers, state, strict=True):
            optimizer.load_state_dict(part)


def parameter_groups(parameters: dict[float, list[nn.Parameter]]) -> list[dict[str, Any]]:
    """Parameter groups, each with the ``factor`` of its learning rate."""
    return [{"params": part, "factor": factor} for factor, part in parameters.items() if part]
