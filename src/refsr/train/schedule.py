"""Learning-rate schedules: linear warmup, then one of three cosines or a constant."""

from __future__ import annotations

import math

from refsr.train.config import RunConfig


def half_cosine(done: float) -> float:
    """From 1 at ``done`` = 0 to 0 at 1."""
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


def learning_rate(step: int, config: RunConfig, seconds: float = 0.0) -> float:
    """Linear warmup over ``warmup`` steps, then a cosine from the peak to the final rate.

    The paper only says "cosine, gamma 0.9"; both readings are here. With T steps after the warmup,
    t of them done and n = floor(t / period):

    - ``cosine``: one half cosine over all T steps, no gamma (the default);
    - ``cosine_restarts``: warm restarts (SGDR): a half cosine over each period down to the final
      rate, the n-th starting at peak * gamma^n;
    - ``cosine_decayed``: one half cosine over all T steps with the peak peak * gamma^n: the rate
      never rises again, and drops by gamma at the end of each period;
    - ``constant``: the peak, for pre-training of unknown length that is followed by a run with a
      cosine.

    With a time limit, t is the larger of the steps done and the elapsed share of the time times T.
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
    peak = t.learning_rate
    if t.schedule != "cosine":
        position = min(done, 1.0) * total
        # the last step belongs to the last period, it does not start another
        number = min(int(position / t.period), math.ceil(total / t.period) - 1)
        peak = max(peak * t.gamma**number, t.final_learning_rate)
        if t.schedule == "cosine_restarts":
            done = (position - number * t.period) / t.period
    return t.final_learning_rate + (peak - t.final_learning_rate) * half_cosine(done)
