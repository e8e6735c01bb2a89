"""Coordinate reference systems and pixel grids."""
