"""The commands `forestgaps prepare` and `forestgaps predict`."""
