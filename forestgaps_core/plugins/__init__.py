"""Finding plugins, isolating broken ones, and resolving names."""
