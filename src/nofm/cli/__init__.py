"""The command line, `nofm`."""

from nofm.cli.app import main

__all__ = ["main"]
