"""Linear layers computed in 8-bit integers, which processors with such instructions do faster than in float32.

This module imports torch, so import it where it is used.
"""

import torch
from torch import Tensor, nn

# The largest absolute value of a quantised number.
LARGEST = 127
# Keeps rows of zeros from being divided by 0.
SMALLEST_SCALE = 1e-12


class Int8Linear(nn.Module):
    """A linear layer whose weights are quantised for each output, and whose inputs for each row (token).

    Inputs have a scale of their own in each row, unlike in dynamic quantisation by batch, so that the result for a
    message does not depend on the messages beside it. Products are summed in integers, so exactly.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        quantised, scale = _quantise(linear.weight.detach())
        bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias.detach()
        for name, tensor in (("weight", quantised.t()), ("scale", scale.t()), ("bias", bias)):
            self.register_buffer(name, tensor.contiguous())

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute the layer, float32."""
        rows, scale = _quantise(inputs.reshape(-1, inputs.shape[-1]))
        # Sums of products in int32: the kernel that quantised networks of torchao use, which has no public name.
        sums = torch._int_mm(rows, self.weight)
        outputs = sums.float() * (scale * self.scale) + self.bias
        return outputs.view(*inputs.shape[:-1], -1)


def quantise_linear_layers(network: nn.Module) -> None:
    """Replace every linear layer below a network by its quantised form."""
    for name, child in network.named_children():
        if isinstance(child, nn.Linear):
            setattr(network, name, Int8Linear(child))
        else:
            quantise_linear_layers(child)


def _quantise(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows as int8 and the scale of each, shape (rows, 1)."""
    scale = rows.abs().amax(dim=1, keepdim=True).clamp(min=SMALLEST_SCALE) / LARGEST
    return torch.round(rows / scale).to(torch.int8), scale
