"""Batches: samples stacked as float32 arrays, made ahead by worker threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image, Pixels
from refsr.degradation.condition import condition
from refsr.train.datasets import Sample
from refsr.train.sampler import PatchSampler

Batch = dict[str, NDArray[np.float32]]  # see ``stack``


def stack(samples: list[Sample]) -> Batch:
    """Batch arrays (B, C, H, W) float32 in 0..1: lr, hr, ref, validity and, where any sample has a
    target, ``target``, in which the truth replaces missing ones; ``condition`` (B, 5, 1, 1)."""

    def nchw(images: list[Pixels]) -> NDArray[np.float32]:
        batch = np.stack([image if image.ndim == 3 else image[..., None] for image in images])
        return np.ascontiguousarray(batch.transpose(0, 3, 1, 2), np.float32) / np.float32(255.0)

    batch = {
        "lr": nchw([s.lr for s in samples]),
        "hr": nchw([s.hr for s in samples]),
        "ref": nchw([s.ref for s in samples]),
        "validity": nchw([s.validity for s in samples]),
        "condition": np.stack([told(sample) for sample in samples])[..., None, None],
    }
    if any(s.target is not None for s in samples):
        batch["target"] = nchw([s.hr if s.target is None else s.target for s in samples])
    return batch


def told(sample: Sample) -> Image:
    """What a network is told of a sample's photo: (5,)."""
    return condition(0.0, 0.0, None, None) if sample.condition is None else sample.condition


def batches(
    sampler: PatchSampler, first: int, last: int, size: int, start: int = 0
) -> Iterator[Batch]:
    """The batches of the steps ``first`` to ``last`` (excluded), made ahead by the workers.

    ``start``: index of the first of ``size`` samples, where processes share a batch.
    """

    def make(step: int) -> Batch:
        return stack([sampler.sample(step, index) for index in range(start, start + size)])

    pool, steps = ThreadPoolExecutor(sampler.workers), iter(range(first, last))
    try:
        ahead: deque[Future[Batch]] = deque()
        ahead.extend(pool.submit(make, step) for step in islice(steps, 2 * sampler.workers))
        while ahead:
            batch = ahead.popleft().result()
            ahead.extend(pool.submit(make, step) for step in islice(steps, 1))
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)
