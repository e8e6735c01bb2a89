"""Rasters as layers of gaps: canopy heights below a threshold, or a gap map."""
