"""The difference between an exported network and torch, compared with the rounding errors of torch itself.

A network may contain decisions, such as whether a cell is within one meter of a ground estimate. Near the limit, the last bit of
a sum changes the decision, and the probability by some thousandths. Another engine sums in another order, so it may decide
differently, and both results are correct. If a result differs by more than the tolerance, torch therefore repeats the
computation with elevations that are changed in their last bits, by less than the accuracy of any survey. The result of the
engine must be within the range of these results, extended by the tolerance.
"""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor, nn

from forestgaps_core.errors import CheckpointError
from forestgaps_export.tracing import Tensors, TracedNetwork, make_inputs

TOLERANCE = 1e-4  # of probabilities of valid pixels
TRIED = ((1, 4, 6, 1), (3, 6, 3, 5), (2, 8, 8, 2))  # samples, rows and columns in multiples, thresholds: unlike those of tracing
# Changes of the elevations in units of the last bit, and the fraction of pixels that increase: all, none, or a random half.
MOVED = ((1, 1.0), (1, 0.0), (1, 0.5), (1, 0.5), (1, 0.5), (1, 0.5), (2, 0.5), (2, 0.5), (4, 0.5), (4, 0.5))


@frozen
class Difference:
    """The difference of probabilities of valid pixels, before calibration.

    Attributes:
        largest: Largest difference from the result of torch.
        beyond: Largest distance from the range of the results of torch with elevations changed in their last bits. Equal to
            `largest` if that is within the tolerance; the computation is then not repeated.
    """

    largest: float
    beyond: float


def compare_networks(network: nn.Module, exported: nn.Module, graph: TracedNetwork) -> Difference:
    """Return the difference at sizes and thresholds that the network was not traced with.

    Raises:
        CheckpointError: The difference exceeds the tolerance or is NaN.
    """
    with torch.inference_mode():
        differences = [
            measure_difference(
                network, exported, make_inputs(samples, down * graph.multiple, across * graph.multiple, count, seed=samples)
            )
            for samples, down, across, count in TRIED
        ]
    for difference, (samples, down, across, _) in zip(differences, TRIED, strict=True):
        if not difference.beyond <= TOLERANCE:
            raise CheckpointError(
                f"the exported network differs from torch by {difference.largest:.2g} in a probability, for {samples} tiles of "
                f"{down * graph.multiple} x {across * graph.multiple} pixels, and by {difference.beyond:.2g} from the results of "
                f"torch with other rounding of the elevations. The limit is {TOLERANCE:g}, so nothing was written. Try the other "
                "format, or map with torch"
            )
    return Difference(max(difference.largest for difference in differences), max(difference.beyond for difference in differences))


def measure_difference(network: nn.Module, exported: nn.Module, inputs: Tensors) -> Difference:
    dsm, valid, thresholds = inputs
    result, expected = exported(*inputs).sigmoid(), network(*inputs).sigmoid()
    largest = ((result - expected).abs() * valid).max().item()
    if not largest > TOLERANCE:  # or NaN
        return Difference(largest, largest)
    low, high = expected, expected
    for seed, (bits, upwards) in enumerate(MOVED):
        repeated = network(shift_last_bits(dsm, valid, bits, upwards, seed), valid, thresholds).sigmoid()
        low, high = low.minimum(repeated), high.maximum(repeated)
    beyond = ((low - result).maximum(result - high).clamp(min=0) * valid).max().item()
    return Difference(largest, beyond)


def shift_last_bits(dsm: Tensor, valid: Tensor, bits: int, upwards: float, seed: int) -> Tensor:
    """Return the DSM with each valid elevation changed by `bits` last bits of float32, up with the probability `upwards`."""
    up = torch.rand(dsm.shape, generator=torch.Generator().manual_seed(seed)) < upwards
    integers = dsm.view(torch.int32) + bits * (2 * up.int() - 1)
    return torch.where(valid, integers.view(torch.float32), dsm)


def describe_difference(difference: Difference) -> str:
    """Return the difference in words."""
    if difference.largest <= TOLERANCE:
        return f"at most {difference.largest:.1g}"
    return (
        f"at most {max(difference.beyond, 1e-6):.1g}, and up to {difference.largest:.1g} where the last bits of an elevation "
        "change the result of torch itself"
    )
