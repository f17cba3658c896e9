"""Capture the stored traces anew: `python -m nofm.workloads.networks [name ...]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nofm.kernels.errors import InputError
from nofm.workloads import networks, trace_file


def main(names: Sequence[str]) -> int:
    """Store the traces of the named networks, or of all, at batch 1."""
    try:
        for name in names or networks.NETWORKS:
            trace_file.save(networks.capture(name), networks.trace_path(name))
            sys.stdout.write(f"{networks.trace_path(name)}\n")
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
