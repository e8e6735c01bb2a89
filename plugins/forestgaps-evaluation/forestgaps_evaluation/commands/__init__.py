"""The commands `forestgaps evaluate` and `forestgaps report`."""
