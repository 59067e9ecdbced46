"""`python -m hoshikage_server` is `hoshikage`."""

from hoshikage_server.cli import main

main()
