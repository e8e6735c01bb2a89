"""From rasters to a prepared folder: check sites, plan their grids and splits, write them."""
