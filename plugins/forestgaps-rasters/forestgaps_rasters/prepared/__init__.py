"""The prepared folder: its index, its layers, and the blocks of each split."""
