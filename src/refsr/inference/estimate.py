"""What a job will take before it is begun: time and memory with the network that it will use."""

from __future__ import annotations

from refsr.errors import PhotoError
from refsr.inference.budget import Budget, Estimate, JobSize, registration_seconds
from refsr.inference.ensemble import TileNetwork
from refsr.inference.memory import free_memory, in_words, resident

TRANSFER_BYTES = 2_000  # memory of the detail transfer per LR pixel of a tile, measured
TRANSFER_SECONDS = 5e-6  # per LR pixel
PROBED_FROM = 400_000  # LR pixels; below, measuring the network takes 2 % of the time or more
USUAL_COST = 7_000.0, 40e-6  # bytes and seconds per LR pixel of a smaller photo


def cost(network: TileNetwork | None, pixels: int) -> tuple[float, float]:
    """Bytes and seconds that one LR pixel of a tile takes, for a photo of so many pixels."""
    if network is None:
        return TRANSFER_BYTES, TRANSFER_SECONDS
    if pixels >= PROBED_FROM:
        return network.probe()
    return USUAL_COST[0], USUAL_COST[1] * network.passes


def forecast(
    job: JobSize, budget: Budget, network: TileNetwork | None, computed: int, allowed: int
) -> Estimate:
    """What a job will take. Raises PhotoError where the system has not so much memory.

    ``computed``: LR pixels of its tiles, halos included. ``allowed``: bytes that the user allows.
    """
    seconds = registration_seconds(job, budget) + computed * cost(network, job.pixels)[1]
    width, height = job.width * job.scale, job.height * job.scale
    free = free_memory()
    if free is not None and budget.memory - resident() > free:
        raise PhotoError(
            f"A result of {width} x {height} pixels takes {in_words(budget.memory)} of memory, but "
            f"only {in_words(free)} are free; close other programs, choose a smaller scale or "
            "fewer references, or cut the photo up."
        )
    return Estimate(width, height, seconds, budget.memory, job.result, allowed)
