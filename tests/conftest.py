"""What all tests share: no display, a fixed terminal, and property tests that are not timed."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

os.environ["MPLBACKEND"] = "agg"
# Width and colour of what the command prints must not depend on the terminal the tests run in.
os.environ["COLUMNS"] = "120"
os.environ["NO_COLOR"] = "1"
os.environ.pop("FORCE_COLOR", None)

# No test is timed: a busy machine must not fail one, and compiling is slow the first time.
settings.register_profile(
    "nofm", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("nofm")
