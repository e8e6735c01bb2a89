from __future__ import annotations

from forestgaps_evaluation.counting.locations import list_blocks, list_sites


class Plain:
    def __len__(self):
        return 3

    def read(self, index, draw):
        raise NotImplementedError


class Placed(Plain):
    def block(self, index):
        return index // 2

    def site(self, index):
        return "ridge"


def test_a_source_names_its_blocks():
    assert list_blocks(Placed(), [0, 1, 2]) == ("0", "0", "1")


def test_without_it_each_tile_is_its_own():
    assert list_blocks(Plain(), [0, 2]) == ("tile 0", "tile 2")


def test_sites_are_listed_where_the_source_has_them():
    assert list_sites(Placed(), [0, 2]) == ("ridge", "ridge")
    assert list_sites(Plain(), [0, 2]) == ()
