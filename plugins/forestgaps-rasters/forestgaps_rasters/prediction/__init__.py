"""From a DSM to gap maps, in blocks."""
