"""What models are computed on: cores of the CPU, or a GPU that is there."""

import os
from typing import Literal

from ml.refusal import UsageError

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
