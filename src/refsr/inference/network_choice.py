"""Which network a photo gets: the one named or, chosen by how degraded the photo is, one of two."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import get_args

from refsr.degradation.blind import (
    JPEG_ALONE,
    JPEG_WITH_REFERENCE,
    Degradation,
    estimate_degradation,
    is_degraded,
)
from refsr.errors import DataError
from refsr.image.photo import Photo
from refsr.inference.ensemble import Crisp, Ensemble, Mode, TileNetwork
from refsr.inference.network import Device, Network, Runtime
from refsr.weights.models import (
    AUTO,
    CLEAN,
    CRISP,
    DAMAGED,
    DETAIL_TRANSFER,
    WITH_LOOKS,
    find_model,
)


class NetworkChoice:
    """The loaded network and, where the choice is automatic, the one for degraded photos."""

    def __init__(
        self, clean: TileNetwork | None, degraded: Callable[[], TileNetwork] | None = None
    ) -> None:
        """``clean`` None is the training-free detail transfer. ``degraded`` loads the other one."""
        self.clean, self.degraded = clean, degraded
        self.timed = False  # whether their speed is measured before each photo, for its estimate

    def select(
        self, photo: Photo, referenced: bool = False, degraded: bool = False, clean: bool = False
    ) -> TileNetwork | None:
        """The network for a photo.

        ``referenced``: whether a reference is used, with which more photos count as degraded.
        ``degraded``: it is known to be, or was, and a correction left traces of it. ``clean``: its
        pixels are known to be; letters on a page look like noise to ``estimate_degradation``.
        """
        if self.degraded is None:
            return self.clean
        quality = JPEG_WITH_REFERENCE if referenced else JPEG_ALONE
        seen = Degradation(photo.jpeg_quality, 0, 0, 0) if clean else estimate_degradation(photo)
        if degraded or is_degraded(seen, quality):
            return self.degraded()
        return self.clean

    def probe(self) -> None:
        """Load every network and measure its cost, before other work disturbs the measurement."""
        for network in (self.clean, self.degraded() if self.degraded else None):
            if network is not None:
                network.probe()


def load_networks(
    model: str,
    device: Device,
    threads: int,
    runtime: Runtime,
    look: Mode,
    ensemble: bool,
    concurrency: int,
) -> NetworkChoice:
    """The networks of a model name; arguments as for ``Upscaler.load``.

    Raises ModelError, and DataError where the model has no such look.
    """
    if look not in get_args(Mode):
        raise DataError(f"look must be one of {', '.join(get_args(Mode))}, not {look!r}.")
    if look != "true" and model not in WITH_LOOKS:
        raise DataError(f"The model {model!r} has no other look; leave one of the two out.")
    if model == DETAIL_TRANSFER:
        return NetworkChoice(None)

    def loaded(name: str) -> TileNetwork:
        network: TileNetwork = Network(find_model(name), device, threads, runtime, concurrency)
        if look == "crisp" and name == CLEAN:
            crisp = Network(find_model(CRISP), device, threads, runtime, concurrency)
            network = Crisp(network, crisp)
        return Ensemble(network) if ensemble else network

    if model != AUTO:
        return NetworkChoice(loaded(model))
    return NetworkChoice(loaded(CLEAN), cache(lambda: loaded(DAMAGED)))
