"""The learning rate of a step: a linear rise, then one of three cosines, or none."""

from __future__ import annotations

import math

from refsr.train.config import RunConfig


def half_cosine(done: float) -> float:
    """From 1 at ``done`` = 0 to 0 at 1."""
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


def learning_rate(step: int, config: RunConfig, seconds: float = 0.0) -> float:
    """Linear rise over ``warmup`` steps, then a cosine from the top to the final rate.

    The paper says "cosine, gamma 0.9" and no more; both readings are here. With T steps after the
    rise, t of them done and n = floor(t / period):

    - ``cosine``: one half cosine over all T steps, no gamma (the default);
    - ``cosine_restarts``: warm restarts (SGDR): a half cosine over each period down to the final
      rate, the n-th starting at top * gamma^n;
    - ``cosine_decayed``: one half cosine over all T steps whose top is top * gamma^n: the rate
      never rises again, and drops by gamma at the end of each period;
    - ``constant``: the top, always: for pre-training that ends when the machine does, and is
      followed by a run with a cosine.

    The cosine follows the steps or, where the run has a time limit, ``seconds`` if they are ahead:
    then t is the share of the time that is over, times T.
    """
    t = config.train
    if step < t.warmup:
        return t.learning_rate * (step + 1) / t.warmup
    if t.schedule == "constant":
        return t.learning_rate
    total = max(1, t.steps - t.warmup)
    done = (step - t.warmup) / total
    if t.minutes:
        done = max(done, seconds / (60 * t.minutes))
    top = t.learning_rate
    if t.schedule != "cosine":
        position = min(done, 1.0) * total
        # at the very end the last period is over, not a new one begun
        number = min(int(position / t.period), math.ceil(total / t.period) - 1)
        top = max(top * t.gamma**number, t.final_learning_rate)
        if t.schedule == "cosine_restarts":
            done = (position - number * t.period) / t.period
    return t.final_learning_rate + (top - t.final_learning_rate) * half_cosine(done)
