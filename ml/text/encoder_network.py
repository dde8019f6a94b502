"""The network of an encoder of sentences. This module imports torch and transformers, so import it where it is used."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

# Nothing here asks a hub; these keep the library from asking one, from telemetry and from progress bars.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import torch
import transformers
from safetensors.torch import load, save
from torch import Tensor, nn

from ml.device import Device
from ml.errors import UsageError


def make_config(config: Mapping[str, Any]) -> Any:
    """Make the configuration of a kind of network that transformers itself has."""
    settings = {name: value for name, value in config.items() if name != "model_type"}
    try:
        return transformers.AutoConfig.for_model(config["model_type"], **settings)
    except (ValueError, TypeError) as error:
        raise UsageError(
            "a kind of encoder that transformers has",
            f"{config['model_type']!r} ({type(error).__name__})",
            "take another encoder, for example a BERT",
        ) from None


def load_network(config: Mapping[str, Any], weights: bytes) -> nn.Module:
    """Build the network in evaluation mode with its weights as float32.

    Raises UsageError where weights are missing or have another shape than the configuration says.
    """
    transformers.utils.logging.disable_progress_bar()
    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    configuration = make_config(config)
    try:
        state = {name: tensor.float() for name, tensor in load(weights).items() if tensor.is_floating_point()}
        network_class = transformers.MODEL_MAPPING[type(configuration)]
        network, info = network_class.from_pretrained(
            None, config=configuration, state_dict=state, output_loading_info=True
        )
    except UsageError:
        raise
    except Exception as error:  # damaged weights may raise anything
        raise UsageError(
            "weights of the encoder that its configuration describes",
            f"{type(error).__name__} on reading them",
            "take configuration and weights from the same folder",
        ) from None
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
    # A pooler on top of the first token is not used here.
    missing = sorted(name for name in info["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise UsageError(
            "all weights of the encoder",
            f"none for {missing[0]}",
            "take configuration and weights from the same folder",
        )
    network.eval()
    return network  # type: ignore[no-any-return]


def save_weights(network: nn.Module) -> bytes:
    """Serialise the weights as `load_network` reads them."""
    return save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})


def to_tensors(ids: Sequence[Sequence[int]], padding_id: int, device: Device) -> tuple[Tensor, Tensor]:
    """Return tokens and mask of a batch, int64, shape (messages, longest message)."""
    longest = max(map(len, ids))
    tokens = [[*row, *[padding_id] * (longest - len(row))] for row in ids]
    mask = [[1] * len(row) + [0] * (longest - len(row)) for row in ids]
    return torch.tensor(tokens, device=device), torch.tensor(mask, device=device)


def mean_of_tokens(network: nn.Module, tokens: Tensor, mask: Tensor) -> Tensor:
    """Average the last states of the tokens of each message, scaled to length 1, float32."""
    states = network(input_ids=tokens, attention_mask=mask).last_hidden_state.float()
    weights = mask.unsqueeze(-1).float()
    mean = (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
    return nn.functional.normalize(mean, dim=1)
