"""From a network and its data to counts per tile, on which all scores are based."""
