"""The blocks of the networks: residual and plain.

The arguments of a block are features and a mask of the size of its result. Features in input and output are 0 without data
(`forestgaps_models.masking`).
"""

from __future__ import annotations

from torch import Tensor, nn

from forestgaps_core import NormFactory
from forestgaps_models.attention import Cbam
from forestgaps_models.convolution import ConvNormAct, convolution
from forestgaps_models.drop_path import DropPath
from forestgaps_models.masking import mask_features


class ResidualBlock(nn.Module):
    """relu(shortcut(x) + branch(x)), where the branch is two 3x3 convolutions with normalization.

    With `stride` 2, the resolution is halved. The shortcut then averages 2x2 pixels, because a strided 1x1 convolution would
    ignore three of four pixels. A shortcut that changes the number of channels has a 1x1 convolution.

    Args:
        dropout: Probability of zeroing a whole feature channel between the convolutions in training. Neighboring pixels are
            correlated, so whole channels are dropped (Tompson et al. 2015, arXiv:1411.4280).
        drop_path: The layer that skips the branch at random; the identity if None.
        attention: A layer at the end of the branch; the identity if None.

    Source: He et al. 2016, arXiv:1512.03385; the shortcut: He et al. 2019, fig. 2c, arXiv:1812.01187
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        normalization: NormFactory,
        *,
        stride: int = 1,
        dilation: int = 1,
        dropout: float = 0.0,
        drop_path: DropPath | None = None,
        attention: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            convolution(inputs, outputs, stride=stride, dilation=dilation),
            normalization(outputs),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout) if dropout else nn.Identity(),
            convolution(outputs, outputs, dilation=dilation),
            normalization(outputs),
            attention or nn.Identity(),
        )
        self.drop_path = drop_path or DropPath()
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.append(nn.AvgPool2d(stride))
        if inputs != outputs:
            self.shortcut.append(convolution(inputs, outputs, size=1)).append(normalization(outputs))
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        shortcut: Tensor = self.shortcut(x)
        convolve, normalize, act, drop, convolve_again, normalize_again, attend = self.branch
        x = mask_features(drop(act(normalize(convolve(x)))), valid)
        x = normalize_again(convolve_again(x))
        if isinstance(attend, Cbam):
            x = attend(mask_features(x, valid), valid)
        return mask_features(self.act(shortcut + self.drop_path(x)), valid)


class PlainBlock(nn.Sequential):
    """Two 3x3 convolutions with normalization and ReLU, without a shortcut; with `stride` 2, after a 2x2 maximum.

    The arguments are those of `ResidualBlock`. `drop_path` is ignored, because it needs a shortcut.

    Source: Ronneberger et al. 2015, fig. 1, arXiv:1505.04597; normalization: Ioffe & Szegedy 2015, arXiv:1502.03167
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        normalization: NormFactory,
        *,
        stride: int = 1,
        dropout: float = 0.0,
        drop_path: DropPath | None = None,
        attention: nn.Module | None = None,
    ) -> None:
        super().__init__(
            nn.MaxPool2d(stride) if stride > 1 else nn.Identity(),
            ConvNormAct(inputs, outputs, normalization),
            nn.Dropout2d(dropout) if dropout else nn.Identity(),
            ConvNormAct(outputs, outputs, normalization),
            attention or nn.Identity(),
        )

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:  # type: ignore[override]  # a mask beside the features
        halve, first, drop, second, attend = self
        x = mask_features(drop(first(halve(x))), valid)
        x = mask_features(second(x), valid)
        return attend(x, valid) if isinstance(attend, Cbam) else x


def run_blocks(blocks: nn.Module, x: Tensor, valid: Tensor) -> Tensor:
    """Return the features after all blocks of a stage; the mask has the size of the result."""
    for block in blocks.children():
        x = block(x, valid)
    return x
