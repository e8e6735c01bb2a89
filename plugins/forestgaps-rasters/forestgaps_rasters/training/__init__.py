"""Training data from a prepared folder."""
