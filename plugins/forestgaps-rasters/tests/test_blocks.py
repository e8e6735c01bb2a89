from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_core.errors import DataError
from forestgaps_rasters.prepared.blocks import (
    SPLITS,
    Block,
    convert_to_pixels,
    count_covered_pixels,
    find_free_rectangles,
    parse_rule,
    partition_free_area,
    split_blocks,
)

SIDES = ["north", "south", "east", "west", "north-east", "north-west", "south-east", "south-west"]


def painted(blocks: tuple[Block, ...] | list[Block], rows: int, columns: int) -> np.ndarray:
    plane = np.zeros((rows, columns), int)
    for block in blocks:
        plane[block.row : block.row + block.rows, block.column : block.column + block.columns] += 1
    return plane


@pytest.mark.parametrize(
    ("rule", "block"),
    [
        ("south 0.5", Block(50, 0, 50, 80)),
        ("north 0.2", Block(0, 0, 20, 80)),
        ("east 0.25", Block(0, 60, 100, 20)),
        ("west .5", Block(0, 0, 100, 40)),
        ("south-east 0.25", Block(50, 40, 50, 40)),
        ("north-west 0.25", Block(0, 0, 50, 40)),
    ],
)
def test_a_rule_names_a_side_or_a_corner_and_a_share_of_the_area(rule: str, block: Block) -> None:
    assert parse_rule(rule, 100, 80) == block


@pytest.mark.parametrize("rule", ["", "south", "0.5", "south 1.5", "south 0.0", "up 0.5", "south-north 0.5", "south0.5"])
def test_other_rules_are_refused(rule: str) -> None:
    with pytest.raises(DataError, match=r"south-east 0.25"):
        parse_rule(rule, 100, 80)


@given(
    rows=st.integers(60, 120),
    columns=st.integers(60, 120),
    test=st.sampled_from(SIDES),
    validation=st.sampled_from(SIDES),
    share=st.floats(0.05, 0.3),
    buffer=st.integers(0, 6),
)
def test_no_two_parts_come_nearer_than_the_buffer(
    rows: int, columns: int, test: str, validation: str, share: float, buffer: int
) -> None:
    rules = {"test": f"{test} {share:.3f}", "validation": f"{validation} {share:.3f}"}
    first, second = (parse_rule(rule, rows, columns) for rule in rules.values())
    if first.overlaps(second):
        with pytest.raises(DataError, match="same ground"):
            split_blocks(rows, columns, part="train", rules=rules, buffer=buffer)
        return
    blocks = split_blocks(rows, columns, part="train", rules=rules, buffer=buffer)
    planes = {part: painted(blocks[part], rows, columns) for part in SPLITS}
    assert planes["test"].max() == planes["validation"].max() == 1, "each pixel counts once"
    for part in ("validation", "test"):
        y, x = np.nonzero(planes[part])
        for other in SPLITS:
            if other == part:
                continue
            for distance in (0, buffer):
                near = np.zeros((rows + 2 * distance, columns + 2 * distance), bool)
                for dy in (0, distance, 2 * distance):
                    for dx in (0, distance, 2 * distance):
                        near[y + dy, x + dx] = True
                near = near[distance : distance + rows, distance : distance + columns]
                assert not (near & (planes[other] > 0)).any(), f"{other} comes within {distance} pixels of {part}"


@given(st.lists(st.builds(Block, st.integers(-5, 15), st.integers(-5, 15), st.integers(1, 8), st.integers(1, 8)), max_size=4))
def test_the_remainder_is_all_that_no_obstacle_covers(obstacles: list[Block]) -> None:
    whole = Block(0, 0, 14, 12)
    free = np.ones((14, 12), bool)
    for obstacle in obstacles:
        free[max(obstacle.row, 0) : max(obstacle.end[0], 0), max(obstacle.column, 0) : max(obstacle.end[1], 0)] = False
    overlapping, apart = find_free_rectangles(whole, obstacles), partition_free_area(whole, obstacles)
    assert ((painted(overlapping, 14, 12) > 0) == free).all()
    assert (painted(apart, 14, 12) == free).all()
    assert count_covered_pixels(overlapping) == count_covered_pixels(apart) == free.sum()


def test_a_corner_leaves_two_training_blocks_that_overlap() -> None:
    blocks = split_blocks(100, 100, part="train", rules={"validation": "south-east 0.25"}, buffer=10)
    assert blocks["validation"] == (Block(50, 50, 50, 50),)
    assert set(blocks["train"]) == {Block(0, 0, 40, 100), Block(0, 0, 100, 40)}


def test_a_guard_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="leaves nothing for train"):
        split_blocks(100, 100, part="train", rules={"validation": "south 0.9"}, buffer=20)


def test_a_part_cannot_be_the_rest_and_a_block_too() -> None:
    with pytest.raises(DataError, match="takes no rule for test"):
        split_blocks(100, 100, part="test", rules={"test": "south 0.5"}, buffer=0)


def test_the_guard_is_rounded_up_to_pixels() -> None:
    assert [convert_to_pixels(20, 1.0), convert_to_pixels(20, 0.5), convert_to_pixels(0.7, 0.5), convert_to_pixels(0.3, 0.1)] == [
        20,
        40,
        2,
        3,
    ]
