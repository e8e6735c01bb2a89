"""One raster from many files, and a raster on another grid."""
