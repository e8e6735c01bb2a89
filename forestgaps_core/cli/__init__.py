"""The Typer application, its commands, and how a process ends."""
