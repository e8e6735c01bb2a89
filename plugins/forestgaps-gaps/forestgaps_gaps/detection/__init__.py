"""From a layer to labeled, measured gaps with their polygons, strip by strip."""
