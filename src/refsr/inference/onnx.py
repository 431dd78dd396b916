"""ONNX Runtime, the default: on the processor, or on a GPU where its package supports one."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from refsr.arrays import Image
from refsr.errors import ModelError
from refsr.inference.network import Inputs
from refsr.resize import SCALE
from refsr.weights.models import Model

LOG_FATAL = 4  # of ONNX Runtime's log levels: errors are raised, not printed
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
PROVIDERS = {  # of each device, the first that is installed
    "cpu": (CPU,),
    "cuda": (CUDA,),
    "mps": ("CoreMLExecutionProvider",),
    "auto": (CUDA, "DmlExecutionProvider", CPU),
}
MISSING = {
    "cpu": "install onnxruntime again",
    "cuda": "install onnxruntime-gpu or use --device cpu",
    "mps": "on a Mac install onnxruntime again; elsewhere use --device cpu",
}


def provider_of(device: str) -> str | None:
    """ONNX Runtime's provider for a device; None where it is not installed."""
    import onnxruntime

    available = cast("list[str]", onnxruntime.get_available_providers())
    return next((provider for provider in PROVIDERS[device] if provider in available), None)


def pick_provider(device: str) -> str:
    """ONNX Runtime's provider for a device. Raises ModelError where there is none."""
    if device not in PROVIDERS:
        raise ModelError(f"There is no device {device!r}; there are: {', '.join(PROVIDERS)}.")
    provider = provider_of(device)
    if provider is None:
        raise ModelError(f"ONNX Runtime has no {device} support here; {MISSING[device]}.")
    return provider


def estimator_options() -> Any:
    """The session options of networks that only judge a photo; they run on the processor.

    One thread: they take 0.1 s, and give the same bits on every machine's cores.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = LOG_FATAL
    options.enable_cpu_mem_arena = False  # it would keep what the largest photo took
    return options


class OnnxSession:
    """A model in ONNX Runtime; see ``refsr.inference.network.Session``."""

    least_bytes = 6_000  # 4,900 to 6,040 measured, by the tile's size
    program_bytes = 0

    def __init__(self, model: Model, device: str, threads: int) -> None:
        """Raises ModelError where it does not load, or does not run on ``device``."""
        import onnxruntime

        onnxruntime.set_default_logger_severity(LOG_FATAL)
        provider = pick_provider(device)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = LOG_FATAL
        options.enable_mem_pattern = False  # a third more memory, no less time
        options.enable_mem_reuse = False  # another third more memory
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = [provider] if provider == CPU else [provider, CPU]
        try:
            self.session: Any = onnxruntime.InferenceSession(
                str(model.path),
                options,
                providers=providers,
                enable_fallback=0,  # it would print, and try again
            )
        except Exception as error:  # onnxruntime's own exceptions share no base
            raise ModelError(
                f"{model.path} is not a model that ONNX Runtime can load; export it again."
            ) from error
        if self.session.get_providers()[0] != provider:  # it silently falls back
            raise ModelError(
                f"ONNX Runtime could not start its {provider}; install what it needs (for CUDA: "
                "the driver, CUDA and cuDNN) or use --device cpu."
            )
        self.provider = f"onnx, {provider}"
        self.options = {release: onnxruntime.RunOptions() for release in (False, True)}
        arena = "cpu:0;gpu:0" if provider == CUDA else "cpu:0"
        self.options[True].add_run_config_entry("memory.enable_memory_arena_shrinkage", arena)
        for options in self.options.values():
            options.only_execute_path_to_fetches = True  # of what is asked for

    def run(self, inputs: Inputs, release: bool) -> tuple[Image, Image]:
        """See ``refsr.inference.network.Session.run``."""
        options = self.options[release]
        if "ref" in inputs:
            return self.session.run(["sr", "gate"], dict(inputs), options)
        height, width = (SCALE * side for side in inputs["lr"].shape[2:])
        ref, gate = (np.zeros((1, count, height, width), np.float32) for count in (3, 1))
        unread = {"ref": ref, "validity": gate}  # every input has to be there
        return *self.session.run(["sr_alone"], dict(inputs) | unread, options), gate
