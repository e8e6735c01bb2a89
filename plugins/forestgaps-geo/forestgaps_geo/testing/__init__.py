"""Helpers for tests of packages that read rasters."""
