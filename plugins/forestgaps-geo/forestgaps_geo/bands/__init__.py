"""Read one band of a raster in meters, with its valid pixels; write rasters that are verified."""
