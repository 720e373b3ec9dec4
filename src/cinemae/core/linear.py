"""Linear layers computed by oneDNN, which torch ships but does not use for float32 matrix products.

torch hands them to MKL, which leaves AVX-512 unused on processors other than Intel's: on one of AMD's oneDNN took half
of the time or less (decision 0008). It reads the same weights, so nothing is copied, and sums in another order, so
results may differ in the last digits. What follows a product, GELU or a sum, it computes while the values are at hand.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn


class OneDnnLinear(nn.Linear):
    """An `nn.Linear` whose float32 products on a CPU are oneDNN's; elsewhere, or where a gradient is due, torch's."""

    @classmethod
    def around(cls, linear: nn.Linear) -> Self:
        """Return a layer that shares the weights of `linear`."""
        layer = cls(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        layer.weight, layer.bias = linear.weight, linear.bias
        return layer.train(linear.training)

    def forward(self, input: Tensor) -> Tensor:
        """Return input @ weight.T + bias."""
        return self._product(input, "none") if self._suits(input) else super().forward(input)

    def gelu(self, input: Tensor) -> Tensor:
        """Return the exact GELU of `forward`."""
        return self._product(input, "gelu") if self._suits(input) else nn.functional.gelu(super().forward(input))

    def plus(self, input: Tensor, other: Tensor) -> Tensor:
        """Return `forward` + other, which has its shape and is left as it is."""
        if not self._suits(input):
            return super().forward(input) + other
        rows, others = input.reshape(-1, self.in_features), other.reshape(-1, self.out_features)
        total: Tensor = torch.ops.mkldnn._linear_pointwise.binary(rows, others, self.weight, self.bias, "add")
        return total.view(other.shape)

    def _product(self, input: Tensor, then: str) -> Tensor:
        rows = input.reshape(-1, self.in_features)
        product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, then, [], "none")
        return product.view(*input.shape[:-1], self.out_features)

    def _suits(self, input: Tensor) -> bool:
        return (
            not torch.compiler.is_compiling()  # a graph is exported with torch's own operators
            and _available()
            and input.device.type == "cpu"
            and input.dtype == self.weight.dtype == torch.float32
            and input.numel() > 0
            and not (torch.is_grad_enabled() and (input.requires_grad or self.weight.requires_grad))
        )


def use_onednn(model: nn.Module) -> None:
    """Put a `OneDnnLinear` in the place of every `nn.Linear` of a model; names and weights stay."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear:
                setattr(parent, name, OneDnnLinear.around(child))


def _available() -> bool:
    """Whether this build of torch holds the operator; it is not part of torch's public interface."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
