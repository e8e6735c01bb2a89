"""Spatial blocks: which part of a site is for training, validation and test.

Canopy is alike nearby, so splits are whole rectangles with a buffer distance between them, never scattered tiles.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from math import ceil, sqrt

from attrs import frozen

from forestgaps_core.errors import DataError
from forestgaps_core.output.counts import format_count

SPLITS = ("train", "validation", "test")
RULE_PATTERN = re.compile(r"(?:(north|south)-?)?(east|west)? (0?\.\d+)")


@frozen
class Block:
    """A rectangle of pixels of one site."""

    row: int
    column: int
    rows: int
    columns: int

    @property
    def area(self) -> int:
        return self.rows * self.columns

    @property
    def end(self) -> tuple[int, int]:
        return self.row + self.rows, self.column + self.columns

    def expand(self, margin: int) -> Block:
        return Block(self.row - margin, self.column - margin, self.rows + 2 * margin, self.columns + 2 * margin)

    def overlaps(self, other: Block) -> bool:
        (bottom, right), (other_bottom, other_right) = self.end, other.end
        return self.row < other_bottom and other.row < bottom and self.column < other_right and other.column < right

    def contains(self, other: Block) -> bool:
        (bottom, right), (other_bottom, other_right) = self.end, other.end
        return self.row <= other.row and self.column <= other.column and other_bottom <= bottom and other_right <= right


def parse_rule(rule: str, rows: int, columns: int) -> Block:
    """The block a rule such as "south 0.5" or "south-east 0.25" names: that side or corner, that share of the area.

    Raises:
        DataError: The rule is none.
    """
    match = RULE_PATTERN.fullmatch(rule.strip())
    side, flank, share = match.groups() if match else (None, None, "0")
    if not (side or flank) or not 0 < float(share) < 1:
        raise DataError(
            f"the split rule {rule!r} is not understood; give a side or a corner and a share of the area between 0 and 1, "
            'such as "south 0.5" or "south-east 0.25". For a whole site: part = "test" in a site list, or the option --test all'
        )
    along = sqrt(float(share)) if side and flank else float(share)
    height = round(rows * along) if side else rows
    width = round(columns * along) if flank else columns
    return Block(rows - height if side == "south" else 0, columns - width if flank == "east" else 0, height, width)


def find_free_rectangles(whole: Block, obstacles: Sequence[Block]) -> list[Block]:
    """The largest rectangles inside `whole` that meet no obstacle; they may overlap. Largest first.

    A rectangle that cannot grow touches obstacles or the border on all sides, so its edges are among theirs.
    """
    obstacles = [obstacle for obstacle in obstacles if obstacle.overlaps(whole)]
    bottom, right = whole.end
    edges_y = sorted({whole.row, bottom} | {y for o in obstacles for y in (o.row, o.end[0]) if whole.row < y < bottom})
    edges_x = sorted({whole.column, right} | {x for o in obstacles for x in (o.column, o.end[1]) if whole.column < x < right})
    candidates = [
        Block(top, left, low - top, far - left) for top, low in combinations(edges_y, 2) for left, far in combinations(edges_x, 2)
    ]
    free = [candidate for candidate in candidates if not any(obstacle.overlaps(candidate) for obstacle in obstacles)]
    largest = [block for block in free if not any(other.contains(block) for other in free if other != block)]
    return sorted(largest, key=lambda block: (-block.area, block.row, block.column))


def partition_free_area(whole: Block, obstacles: Sequence[Block]) -> list[Block]:
    """Rectangles that share no pixel and together are `whole` without the obstacles."""
    found: list[Block] = []
    while rest := find_free_rectangles(whole, [*obstacles, *found]):
        found.append(rest[0])
    return found


def count_covered_pixels(blocks: Sequence[Block]) -> int:
    """Pixels in any of the blocks."""
    edges_y = sorted({y for block in blocks for y in (block.row, block.end[0])})
    edges_x = sorted({x for block in blocks for x in (block.column, block.end[1])})
    cells = [Block(t, left, b - t, r - left) for t, b in pairwise(edges_y) for left, r in pairwise(edges_x)]
    return sum(cell.area for cell in cells if any(block.contains(cell) for block in blocks))


def split_blocks(rows: int, columns: int, *, part: str, rules: Mapping[str, str], buffer: int) -> Mapping[str, tuple[Block, ...]]:
    """The blocks of each part of a site.

    Blocks named by `rules` come first, test before validation; what remains is for `part`. Whatever comes later keeps
    `buffer` pixels away from what came before, in rows and in columns. Training blocks may overlap each other; those of
    validation and test do not, so that each pixel counts once.

    Raises:
        DataError: Two rules name the same ground, or the buffer distance leaves nothing.
    """
    if part in rules:
        raise DataError(f"the rest of the site is for {part} already, so it takes no rule for {part}")
    whole = Block(0, 0, rows, columns)
    blocks: dict[str, tuple[Block, ...]] = dict.fromkeys(SPLITS, ())
    taken: list[Block] = []
    named = [(name, parse_rule(rules[name], rows, columns)) for name in ("test", "validation", "train") if name in rules]
    for name, block in [*named, (part, whole)]:
        if block is not whole and any(block.overlaps(other) for other in taken):
            raise DataError(f"the rules for {' and '.join(rules)} name the same ground: {', '.join(map(repr, rules.values()))}")
        keep = find_free_rectangles if name == "train" else partition_free_area
        blocks[name] = tuple(keep(block, [other.expand(buffer) for other in taken]))
        if not blocks[name]:
            raise DataError(
                f"a buffer distance of {format_count(buffer, 'pixel')} leaves nothing for {name} of {rows} x {columns} pixels"
            )
        taken.append(block)
    return blocks


def convert_to_pixels(buffer_m: float, resolution_m: float) -> int:
    return ceil(buffer_m / resolution_m - 1e-3)  # of a pixel: feet make 1 m of 0.999999
