"""Long work on blocks: executors, and a folder that keeps finished blocks until all are complete."""
