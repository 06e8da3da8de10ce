"""`python -m edgekit` is `edgekit`."""

from .cli import main

main()
