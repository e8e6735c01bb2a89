"""The report page about a gap map."""
