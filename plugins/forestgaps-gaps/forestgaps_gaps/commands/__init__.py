"""The commands `forestgaps gaps` and `forestgaps change`."""
