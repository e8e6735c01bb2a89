"""Check that a raster is plausible, and that two rasters agree."""
