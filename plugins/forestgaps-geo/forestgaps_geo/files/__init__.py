"""Open untrusted raster files safely, and identify the files that are read."""
