"""Statistics of the gaps of one map: sizes, patterns, grid cells."""
