"""Computing devices: CPU cores, an optional GPU, and reproducible computations with torch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from ml.errors import UsageError

Device = Literal["cpu", "cuda"]


def check_device(device: Device) -> None:
    """Check that torch can use `device`. Raises UsageError for a GPU that it cannot use."""
    if device == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        raise UsageError(
            "a GPU for the device cuda",
            f"none that torch {torch.__version__} can use",
            "set the device to cpu (STEWARD_DEVICE), or install the driver and a build of torch for it",
        )


def available_cores() -> int:
    """Count the CPU cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def deterministic_torch(seed: int, device: Device) -> Iterator[None]:
    """Run torch with one thread, seeded, and with deterministic operations only; restore its state afterwards."""
    import torch

    threads, was_deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    deterministic_options: Any = torch.utils.deterministic
    filled_memory = deterministic_options.fill_uninitialized_memory
    devices = []
    if device == "cuda":
        # cuBLAS reads this at its first use; without it torch's deterministic mode raises an error.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        devices = [torch.cuda.current_device()]
    try:
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        # Our code reads no uninitialised memory, and filling it takes time.
        deterministic_options.fill_uninitialized_memory = False
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            yield
    finally:
        deterministic_options.fill_uninitialized_memory = filled_memory
        torch.use_deterministic_algorithms(was_deterministic)
        torch.set_num_threads(threads)
