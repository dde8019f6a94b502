"""The state of a training after an epoch, as bytes, so that a killed fit continues from there.

This module imports torch, so import it where it is used.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from safetensors.torch import load, save
from torch import Tensor

# The entry with all that is no tensor, as JSON.
_STATE = "state"


@dataclass(frozen=True, eq=False)
class TrainingCheckpoint:
    """Tensors by group and name, and JSON values: `state` is read back as it was, floats to the last bit."""

    groups: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """Serialise as safetensors."""
        tensors = {
            f"{group}/{name}": tensor.detach().cpu().contiguous()
            for group, named in self.groups.items()
            for name, tensor in named.items()
        }
        text = json.dumps(self.state).encode()
        return save({_STATE: torch.frombuffer(bytearray(text), dtype=torch.uint8), **tensors})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote."""
        tensors = load(data)
        state = json.loads(tensors.pop(_STATE).numpy().tobytes())
        groups: dict[str, dict[str, Tensor]] = {}
        for path, tensor in tensors.items():
            group, _, name = path.partition("/")
            groups.setdefault(group, {})[name] = tensor
        return cls(groups, state)


def optimizer_tensors(optimizer: Any) -> dict[str, Tensor]:
    """Return the moments and steps of an optimizer, by number of the parameter and name."""
    state = optimizer.state_dict()["state"]
    return {f"{number}.{name}": value for number, named in state.items() for name, value in named.items()}


def restore_optimizer(optimizer: Any, tensors: Mapping[str, Tensor]) -> None:
    """Set what `optimizer_tensors` returned of an optimizer of the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        number, _, name = path.partition(".")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
