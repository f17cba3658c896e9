#!/bin/sh
# Make .venv and install the project into it: `tools/setup.sh run` for what the demo needs,
# `tools/setup.sh test` for the tests and checks too. PYTHON=... chooses the interpreter.
#
# Nothing is done when nothing changed since the last time. The Python module `venv` is installed
# with apt-get where it is missing; that is the only thing installed outside this folder.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd -P)
folders="kernels workloads dataflow simulator"

say() { printf 'setup: %s\n' "$*"; }
refuse() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

check_links() {
    for folder in $folders; do
        [ -L "src/nofm/$folder" ] && [ -d "src/nofm/$folder" ] || refuse \
            "src/nofm/$folder must be a symbolic link to ../../$folder, and is not:" \
            "check out again where symbolic links work (Linux, macOS, WSL; git's core.symlinks true)"
    done
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        new_enough "$PYTHON" || refuse "PYTHON=$PYTHON must be Python 3.11 or newer, and is not"
        python=$PYTHON
        return
    fi
    for python in python3 python3.13 python3.12 python3.11; do
        if new_enough "$python"; then return; fi
    done
    refuse "Python 3.11 or newer is needed, and neither python3 nor python3.11 to 3.13 is that"
}

has_venv() { "$python" -c 'import ensurepip, venv' 2>/dev/null; }

install_venv_module() {
    package=python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv
    command -v apt-get >/dev/null || refuse \
        "Python's venv module is missing and there is no apt-get: install it, then try again"
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || refuse \
            "Python's venv module is missing: run 'apt-get install $package' as root, then try again"
        as_root=sudo
    fi
    say "Python's venv module is missing: installing $package with ${as_root:+$as_root }apt-get"
    $as_root apt-get update -qq || say "apt-get update failed: trying with the lists at hand"
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package" >/dev/null &&
        has_venv || refuse "apt-get could not install $package: install it, then try again"
}

pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }

# A half-made .venv, one whose Python is gone, or one that came from another folder is no use.
venv_works() {
    new_enough .venv/bin/python && pip --version >/dev/null 2>&1 &&
        head -n 3 .venv/bin/pip | grep -qF "$root/.venv/bin/python"
}

make_venv() {
    if [ -e .venv ] || [ -L .venv ]; then
        if venv_works; then return; fi
        say "the .venv that is here does not work: making it again"
        rm -rf .venv
    fi
    has_venv || install_venv_module
    say "making .venv with $("$python" --version)"
    "$python" -m venv .venv
}

install() {
    say "installing pip and hatchling, which build and install the project"
    pip install --quiet -c constraints.txt pip hatchling
    say "installing nofm, its libraries, $2" \
        "(the first time: hundreds of megabytes, or 5 GB where pip's torch comes with CUDA)"
    pip install --quiet -c constraints.txt --no-build-isolation -e ".[$1]"
}

what=${1:-run}
case $what in
run) extras="torch,onnx" named="torch and onnx" ;;
test) extras="torch,onnx,test,dev,notebooks" named="torch, onnx and what the tests use" ;;
*) refuse "what to set up must be run or test, not '$what'" ;;
esac

check_links
find_python
key=$({
    cat pyproject.toml constraints.txt tools/setup.sh tools/scalesim-requirements.txt
    "$python" --version
    echo "$root"
} | cksum)
stamp=.venv/.setup-$what
if [ "$(cat "$stamp" 2>/dev/null)" = "$key" ]; then exit 0; fi

make_venv
install "$extras" "$named"
if [ "$what" = test ]; then
    say "installing SCALE-Sim, which the tests compare with, into .venvs/scalesim"
    PYTHON='' tools/scalesim_env.sh
fi
printf '%s\n' "$key" >.venv/.setup-run
printf '%s\n' "$key" >"$stamp"
say "done"
