"""Run files: reading, checking, explaining."""
