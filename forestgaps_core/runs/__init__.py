"""A run: built from its run file, trained, resumed and evaluated in its folder."""
