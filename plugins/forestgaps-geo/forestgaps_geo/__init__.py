"""Raster code that several packages of forestgaps share: opening files safely. A library; it adds no names to run files."""
