"""A convolution that computes with integers: 8-bit inputs and weights, 32-bit sums, float32 out.

    y = input_scale * weight_scale_c * sum (code(x) - zero_point) code(w) + bias

On processors with instructions for products of 8-bit integers summed in 32 bits (VNNI, AMX), oneDNN computes the sums, as in the
compiler of torch. On other processors, oneDNN would sum in 16 bits and overflow. There, the same numbers are computed in float32:
the results are equal except for rounding, and not faster.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from forestgaps_quantization.scales import InputScale, compute_weight_codes, compute_weight_scales, compute_weight_values

FOR_ANY_SIZE = (1, 64, 64)  # samples, rows and columns that the layout of weights is optimized for; all sizes work


@cache
def has_integer_convolution() -> bool:
    """Return whether this torch and this processor have the integer convolution."""
    if not torch.cpu._is_vnni_supported():
        return False
    try:
        weight = torch.ones(16, 16, 1, 1, dtype=torch.int8)
        scales = torch.ones(16)
        packed = torch.ops.onednn.qconv_prepack(weight, scales, 1.0, 0, [1, 1], [0, 0], [1, 1], 1, [1, 16, 4, 4])
        x = torch.full((1, 16, 4, 4), 255, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
        out = torch.ops.onednn.qconv_pointwise(
            *(x, 1.0, 0, packed, scales, torch.zeros(16, dtype=torch.int32), None),
            *([1, 1], [0, 0], [1, 1], 1, 1.0, 0, torch.float32, "none", [], ""),
        )
        return bool((out == 16 * 255.0).all())
    except (AttributeError, RuntimeError, TypeError):  # another version of torch with another interface
        return False


class Int8Convolution(nn.Module):
    """Replaces a convolution in evaluation mode.

    Args:
        convolution: With its batch norm folded in, if it had one.
        given: Scale of its input.
        integers: Whether to compute with integers; by default if the processor supports it.

    Attributes:
        relu: Whether it includes a ReLU.
        into: Scale of the next convolution, to which it passes codes (uint8) instead of float32; None to return float32.
    """

    def __init__(self, convolution: nn.Conv2d, given: InputScale, integers: bool | None = None) -> None:
        super().__init__()
        self.given, self.relu = given, False
        self.into: InputScale | None = None
        self.integers = has_integer_convolution() if integers is None else integers
        self.bias = None if convolution.bias is None else convolution.bias.detach()
        weight = convolution.weight.detach().contiguous()
        self.scales = compute_weight_scales(weight)
        codes = compute_weight_codes(weight, self.scales)
        self.groups = convolution.groups
        assert not isinstance(convolution.padding, str)
        self.stride, self.padding, self.dilation = (
            list(numbers) for numbers in (convolution.stride, convolution.padding, convolution.dilation)
        )
        if self.integers:
            samples, rows, columns = FOR_ANY_SIZE
            shape = [samples, weight.shape[1] * convolution.groups, rows, columns]
            self.packed = torch.ops.onednn.qconv_prepack(codes, self.scales, given.scale, given.zero_point, *self.place(), shape)
            self.zeros = torch.zeros(len(codes), dtype=torch.int32)
        else:
            self.weight = compute_weight_values(codes, self.scales)

    def forward(self, x: Tensor) -> Tensor:
        codes = x if x.dtype == torch.uint8 else self.given.codes(x)
        if not self.integers:
            out = conv2d(self.given.values(codes), self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
            out = out.relu_() if self.relu else out
            return out if self.into is None else self.into.codes(out)
        scale, zero_point = (1.0, 0) if self.into is None else (self.into.scale, self.into.zero_point)
        result: Tensor = torch.ops.onednn.qconv_pointwise(
            *(codes, self.given.scale, self.given.zero_point, self.packed, self.scales, self.zeros, self.bias, *self.place()),
            *(scale, zero_point, torch.float32 if self.into is None else torch.uint8, "relu" if self.relu else "none", [], ""),
        )
        return result

    def place(self) -> tuple[list[int], list[int], list[int], int]:
        return self.stride, self.padding, self.dilation, self.groups

    def extra_repr(self) -> str:
        return f"{len(self.scales)} channels, {'integers' if self.integers else 'float32'}, relu={self.relu}"


def replace_convolutions(network: nn.Module, given: dict[str, InputScale], integers: bool | None = None) -> None:
    """Replace each named convolution by an `Int8Convolution`, in place; then connect neighbors.

    In an `nn.Sequential`, the convolution includes a ReLU after it, and passes codes to a quantized convolution after that.
    """
    for name, scale in given.items():
        place, _, leaf = name.rpartition(".")
        convolution = network.get_submodule(name)
        assert isinstance(convolution, nn.Conv2d)
        setattr(network.get_submodule(place), leaf, Int8Convolution(convolution, scale, integers))
    for parent in network.modules():
        if isinstance(parent, nn.Sequential) and type(parent).forward is nn.Sequential.forward:
            for (_, layer), (place, following) in pairwise(list_active_layers(parent)):
                if isinstance(layer, Int8Convolution) and type(following) is nn.ReLU:
                    layer.relu = True
                    setattr(parent, place, nn.Identity())
            for (_, layer), (_, following) in pairwise(list_active_layers(parent)):
                if isinstance(layer, Int8Convolution) and isinstance(following, Int8Convolution):
                    layer.into = following.given


def list_active_layers(layers: nn.Sequential) -> list[tuple[str, nn.Module]]:
    """Return the layers without identities and without layers that are identities outside training."""
    return [(name, layer) for name, layer in layers.named_children() if type(layer) not in (nn.Identity, nn.Dropout, nn.Dropout2d)]
