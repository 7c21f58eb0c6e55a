"""`python -m gateway.cli`: the same command where the script of that name is not on the path."""

from gateway.cli import main

main(prog_name="gateway")
