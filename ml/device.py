"""What models are computed on: cores of the CPU, or a GPU that is there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from ml.errors import UsageError

Device = Literal["cpu", "cuda"]


def check_device(device: Device) -> None:
    """Raises UsageError where a GPU is asked for and torch can use none."""
    if device == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        raise UsageError(
            "a GPU, as the device cuda was asked for",
            f"none that torch {torch.__version__} can use",
            "ask for the device cpu (STEWARD_DEVICE), or install the driver and a build of torch for it",
        )


def cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def torch_of_our_own(seed: int, device: Device) -> Iterator[None]:
    """One thread, chance from the seed, and no operation that is not the same each time; what others had comes back."""
    import torch

    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    filling: Any = torch.utils.deterministic
    filled = filling.fill_uninitialized_memory
    devices = []
    if device == "cuda":
        # Read by cuBLAS when it is first used; without it torch refuses to be deterministic.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        devices = [torch.cuda.current_device()]
    try:
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        # Nothing of ours reads what it has not written, and filling takes time.
        filling.fill_uninitialized_memory = False
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            yield
    finally:
        filling.fill_uninitialized_memory = filled
        torch.use_deterministic_algorithms(strict)
        torch.set_num_threads(threads)
