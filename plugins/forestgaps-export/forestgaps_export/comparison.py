"""How far an exported network is from torch: no farther than torch is from itself.

A network may decide: a filter asks whether a cell of the surface lies within a meter of its guess. Where it lies at that very
meter, the last bit of a sum decides, and with it thousandths of a probability. Another order of summation, which is what another
engine is, decides otherwise there, and neither is wrong. So where an answer differs by more than the tolerance, torch is asked
again about the same surface with its elevations moved by a few last bits, less than what any survey knows. What the engine says
must lie within what torch says then, widened by the tolerance.
"""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor, nn

from forestgaps_core.errors import CheckpointError
from forestgaps_export.tracing import Tensors, TracedNetwork, make_inputs

# Of a probability, where there is data.
TOLERANCE = 1e-4
TRIED = ((1, 4, 6, 1), (3, 6, 3, 5), (2, 8, 8, 2))  # samples, rows and columns in multiples, thresholds: none as traced
# Last bits that elevations move by, and the share of them that goes up: all, none, and others each time.
MOVED = ((1, 1.0), (1, 0.0), (1, 0.5), (1, 0.5), (1, 0.5), (1, 0.5), (2, 0.5), (2, 0.5), (4, 0.5), (4, 0.5))


@frozen
class Difference:
    """Of probabilities, before calibration, where there is data.

    Attributes:
        largest: To what torch answers.
        beyond: Farthest from the nearest of all that torch answers to the same surface, its elevations moved by last bits.
            The same as `largest` where that is within the tolerance, and torch was asked once.
    """

    largest: float
    beyond: float


def compare_networks(network: nn.Module, exported: nn.Module, graph: TracedNetwork) -> Difference:
    """Over sizes and thresholds the network was not traced with.

    Raises:
        CheckpointError: Beyond the tolerance, or no number.
    """
    with torch.inference_mode():
        found = [
            measure_difference(
                network, exported, make_inputs(samples, down * graph.multiple, across * graph.multiple, count, seed=samples)
            )
            for samples, down, across, count in TRIED
        ]
    for difference, (samples, down, across, _) in zip(found, TRIED, strict=True):
        if not difference.beyond <= TOLERANCE:
            raise CheckpointError(
                f"the exported network differs from torch by {difference.largest:.2g} in a probability, for {samples} tiles of "
                f"{down * graph.multiple} x {across * graph.multiple} pixels, and by {difference.beyond:.2g} from what torch "
                f"answers when elevations are rounded otherwise; at most {TOLERANCE:g} is accepted, so nothing was written. Try "
                "the other format, or map with torch"
            )
    return Difference(max(difference.largest for difference in found), max(difference.beyond for difference in found))


def measure_difference(network: nn.Module, exported: nn.Module, asked: Tensors) -> Difference:
    dsm, valid, thresholds = asked
    found, expected = exported(*asked).sigmoid(), network(*asked).sigmoid()
    largest = ((found - expected).abs() * valid).max().item()
    if not largest > TOLERANCE:  # or no number
        return Difference(largest, largest)
    low, high = expected, expected
    for turn, (bits, upwards) in enumerate(MOVED):
        again = network(shift_last_bits(dsm, valid, bits, upwards, turn), valid, thresholds).sigmoid()
        low, high = low.minimum(again), high.maximum(again)
    beyond = ((low - found).maximum(found - high).clamp(min=0) * valid).max().item()
    return Difference(largest, beyond)


def shift_last_bits(dsm: Tensor, valid: Tensor, bits: int, upwards: float, seed: int) -> Tensor:
    """Each elevation where there is data so many last bits of float32 up or down, by chance."""
    up = torch.rand(dsm.shape, generator=torch.Generator().manual_seed(seed)) < upwards
    integers = dsm.view(torch.int32) + bits * (2 * up.int() - 1)
    return torch.where(valid, integers.view(torch.float32), dsm)


def describe_difference(difference: Difference) -> str:
    """In words, for people."""
    if difference.largest <= TOLERANCE:
        return f"at most {difference.largest:.1g}"
    return (
        f"at most {max(difference.beyond, 1e-6):.1g}, and up to {difference.largest:.1g} where the last bits of an elevation "
        "make torch itself decide otherwise"
    )
