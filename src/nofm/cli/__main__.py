"""`python -m nofm.cli` is `nofm`."""

from nofm.cli.app import main

main()
