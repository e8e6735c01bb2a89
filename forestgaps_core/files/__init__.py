"""Reading and writing files: whole or absent, bounded, locked, checked before use."""
