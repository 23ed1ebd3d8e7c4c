"""`python -m mayfly`."""

from mayfly.cli import main

main()
