"""Post-processing of maps: in strips with a halo, and the post-processor `smooth`."""
