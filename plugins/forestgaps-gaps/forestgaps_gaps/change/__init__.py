"""Changes of gaps between two dates."""
