"""Simulate terrain, trees, gaps and a survey of them."""
