#!/bin/sh
# Make .venvs/scalesim, the environment in which the tests run the real SCALE-Sim.
# It does nothing where the environment is there and its pins have not changed.
# PYTHON names the interpreter to make it with; it needs pip (.venv/bin/python is the default).
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
environment=.venvs/scalesim
pins=tools/scalesim-requirements.txt

if cmp -s "$pins" "$environment/pins.txt" && "$environment/bin/python" -c '' 2>/dev/null; then
    exit 0
fi
rm -rf "$environment"
"$python" -m venv --without-pip "$environment"
"$python" -m pip --python "$environment/bin/python" install --quiet --no-deps \
    --disable-pip-version-check -r "$pins"
"$environment/bin/python" -c 'import scalesim.scale_sim'
# Last, so that an interrupted run is done again.
cp "$pins" "$environment/pins.txt"
