"""Trained networks: folders, calibration, engines, prediction."""
