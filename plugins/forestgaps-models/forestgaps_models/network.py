"""What every network here does: view, pad, body, crop, head.

The *body* turns the view into feature channels and never sees a threshold; the *head* turns them into logits. View and features
are 0 where there is no data (`forestgaps_models.masking`), so no answer depends on what fills invalid pixels, or on padding.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.functional import pad

from forestgaps_models.drop_path import set_drop_path
from forestgaps_models.views import ViewLayer


class Body(nn.Module):
    """(x, known) to features: (B, channels, H, W) and (B, 1, H, W) to (B, `channels`, H, W); H and W are multiples of `multiple`.

    Both channels and features are 0 where nothing is known.
    """

    channels: int
    multiple: int
    reach: int  # pixels from which what surrounds a pixel changes its features


class Network(nn.Module):
    """A model of the core's contract: (dsm, valid, thresholds) to logits (B, K, H, W), for tiles of any size.

    Args:
        view: From meters to channels, in float32.
        body: From the view to features.
        head: An `nn.Module` from (features (B, C, H, W), thresholds (B, K), valid (B, 1, H, W)) to logits (B, K, H, W).
    """

    view: ViewLayer
    body: Body

    def __init__(self, view: ViewLayer, body: Body, head: nn.Module) -> None:
        super().__init__()
        self.view, self.body, self.head = view, body, head

    @property
    def multiple(self) -> int:
        """Windows that begin at multiples of so many pixels have their halvings on the same pixels."""
        return math.lcm(self.body.multiple, self.view.multiple)

    @property
    def context_pixels(self) -> int:
        """Pixels from which what surrounds a pixel changes its answer, but for what a layer sums over a whole tile."""
        return self.view.reach + self.body.reach + int(self.head.reach)  # type: ignore[arg-type]  # an attribute of every head

    def extract_features(self, dsm: Tensor, valid: Tensor) -> Tensor:
        """The body's channels, (B, C, H, W)."""
        # The view and not the DSM is padded: its windows end where the survey ends.
        margin = compute_padding(dsm, self.body.multiple)
        features: Tensor = self.body(pad(self.view(dsm, valid), margin), pad(valid, margin))
        return features[..., : dsm.shape[-2], : dsm.shape[-1]]

    def forward(self, dsm: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
        logits: Tensor = self.head(self.extract_features(dsm, valid), thresholds, valid)
        return logits

    def set_drop_path(self, rate: float) -> None:
        """Set the highest drop-path rate, at least 0 and below 1; blocks take their share by depth."""
        set_drop_path(self, rate)


def compute_padding(x: Tensor, multiple: int) -> tuple[int, int, int, int]:
    """Pixels to add left, right, above and below, so that height and width are multiples of `multiple`, and one twice that.

    Twice, since a body makes one pixel of `multiple`, and a single pixel of a single tile cannot be normalized.
    """
    rows, columns = (-size % multiple for size in x.shape[-2:])
    return 0, columns, 0, rows + (multiple if max(x.shape[-2:]) <= multiple else 0)
