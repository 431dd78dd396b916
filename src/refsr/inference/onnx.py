"""ONNX Runtime: the default; on the processor, and on a card where its package supports one."""

from __future__ import annotations

from typing import Any, cast

from refsr.arrays import Image
from refsr.errors import ModelError
from refsr.weights.models import Model

ERRORS_ONLY = 4  # fatal, of ONNX Runtime's log levels: what fails is raised, not printed
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
PROVIDERS = {  # the first that is installed
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

    there = cast("list[str]", onnxruntime.get_available_providers())
    return next((provider for provider in PROVIDERS[device] if provider in there), None)


def pick_provider(device: str) -> str:
    """The same. Raises ModelError where there is no such device, or no provider for it."""
    if device not in PROVIDERS:
        raise ModelError(f"There is no device {device!r}; there are: {', '.join(PROVIDERS)}.")
    provider = provider_of(device)
    if provider is None:
        raise ModelError(f"ONNX Runtime has no {device} support here; {MISSING[device]}.")
    return provider


class OnnxSession:
    """A model in ONNX Runtime; see ``refsr.inference.network.Session``."""

    least_bytes = 6_000  # 4,900 to 6,040 measured, by the tile's size
    program_bytes = 0

    def __init__(self, model: Model, device: str, threads: int) -> None:
        """Raises ModelError where it does not load, or does not run on ``device``."""
        import onnxruntime

        onnxruntime.set_default_logger_severity(ERRORS_ONLY)
        provider = pick_provider(device)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = ERRORS_ONLY
        options.enable_mem_pattern = False  # its plans take a third more memory and no less time
        options.enable_mem_reuse = False  # a tensor kept for a later one of its size: a third more
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = [provider] if provider == CPU else [provider, CPU]
        try:
            self.session: Any = onnxruntime.InferenceSession(
                str(model.path),
                options,
                providers=providers,
                enable_fallback=0,  # it would print, and try the same again
            )
        except Exception as error:  # onnxruntime's own exceptions share no base
            raise ModelError(
                f"{model.path} is no model that ONNX Runtime can load; export it again."
            ) from error
        if self.session.get_providers()[0] != provider:  # it goes on without, and says nothing
            raise ModelError(
                f"ONNX Runtime could not start its {provider}; install what it needs (for CUDA: "
                "the driver, CUDA and cuDNN) or use --device cpu."
            )
        self.provider = f"onnx, {provider}"
        self.giving_back = onnxruntime.RunOptions()
        arena = "cpu:0;gpu:0" if provider == CUDA else "cpu:0"
        self.giving_back.add_run_config_entry("memory.enable_memory_arena_shrinkage", arena)

    def run(self, lr: Image, ref: Image, validity: Image, release: bool) -> tuple[Image, Image]:
        """See ``refsr.inference.network.Session.run``."""
        feed = {"lr": lr, "ref": ref, "validity": validity}
        return self.session.run(["sr", "gate"], feed, self.giving_back if release else None)
