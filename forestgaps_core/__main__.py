"""`python -m forestgaps_core` is `forestgaps`."""

from forestgaps_core.cli.app import main

main()
