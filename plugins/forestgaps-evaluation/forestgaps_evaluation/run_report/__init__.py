"""The report page about a trained network, and its STAC item."""
