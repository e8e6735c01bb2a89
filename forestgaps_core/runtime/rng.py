"""Random numbers as functions of their purpose, instead of a stream.

Order, crops, thresholds and augmentation are functions of (seed, epoch, index), not of a generator's state. So a run that
resumes at step n needs no replay, and neither the number of loader processes nor the device changes a sample.

The function is SplitMix64 (Steele, Lea & Flood 2014, doi 10.1145/2660193.2660195), a bijection of 64-bit integers
with good avalanche, in two's-complement integer arithmetic: the same bits on every device.
"""

from __future__ import annotations

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio, the increment of the sequence
MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
WORD = 1 << 64


def to_signed(word: int) -> int:
    """A 64-bit pattern as torch holds it."""
    word %= WORD
    return word - WORD if word >= WORD // 2 else word


def shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift: torch's own keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def mix(x: Tensor) -> Tensor:
    """SplitMix64's output function on int64, element by element."""
    x = x + to_signed(GOLDEN)
    x = (x ^ shift_right(x, 30)) * to_signed(MULTIPLIERS[0])
    x = (x ^ shift_right(x, 27)) * to_signed(MULTIPLIERS[1])
    return x ^ shift_right(x, 31)


def random_numbers(seed: int, epoch: int, index: Tensor) -> Tensor:
    """The random number of each sample: int64 of the shape of `index`."""
    start = mix(mix(torch.tensor(seed, dtype=torch.int64)) ^ epoch)
    return mix(start.to(index.device) ^ mix(index.to(torch.int64)))


def seed_of_step(seed: int, step: int, stream: int = 0) -> int:
    """The seed of torch's own generator in one step, for dropout and whatever else draws from it: 0 to 2^63.

    Plain integers, since it is asked at every step; the same function as `mix`.
    """
    return mix_word(mix_word(mix_word(seed) ^ step) ^ stream) >> 1


def mix_word(word: int) -> int:
    word = (word + GOLDEN) % WORD
    word = (word ^ (word >> 30)) * MULTIPLIERS[0] % WORD
    word = (word ^ (word >> 27)) * MULTIPLIERS[1] % WORD
    return word ^ (word >> 31)


def uniform(draw: Tensor, stream: str, count: int) -> Tensor:
    """`count` numbers in [0, 1) from each draw: (B,) int64 to (B, count) float64.

    `stream` names what they are for; names that differ in their first 8 bytes give independent numbers.
    """
    name = int.from_bytes(stream.encode()[:8].ljust(8, b"\0"), "little")
    base = mix(draw ^ to_signed(name))
    place = torch.arange(1, count + 1, device=draw.device, dtype=torch.int64) * to_signed(GOLDEN)
    return shift_right(mix(base[:, None] + place), 11).to(torch.float64) * 2.0**-53
