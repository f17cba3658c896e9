#!/bin/sh
# Make .venv and install the project into it: `tools/setup.sh run` for what the demo needs,
# `tools/setup.sh test` for the tests and checks too. PYTHON=... chooses the interpreter.
#
# Nothing is done when nothing changed since the last time. Installed outside this folder, with
# apt-get and only where missing: the Python module `venv`, and for the tests Icarus Verilog, a
# C++ compiler with make and perl, which Verilator needs, a C compiler for AArch64, and, where
# there is one to be had, a browser without a window.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd -P)
folders="kernels workloads dataflow simulator rtl explore"

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

install_debian() {
    what=$1
    shift
    command -v apt-get >/dev/null || refuse \
        "$what missing and there is no apt-get: install it, then try again"
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || refuse \
            "$what missing: run 'apt-get install $*' as root, then try again"
        as_root=sudo
    fi
    say "$what missing: installing $* with ${as_root:+$as_root }apt-get"
    $as_root apt-get update -qq || say "apt-get update failed: trying with the lists at hand"
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
}

install_venv_module() {
    package=python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv
    install_debian "Python's venv module is" "$package" && has_venv ||
        refuse "apt-get could not install $package: install it, then try again"
}

# Debian packages hold the commands of their names, or what is written as COMMAND=PACKAGE.
missing_tools() {
    for tool in iverilog g++ make perl aarch64-linux-gnu-gcc=gcc-aarch64-linux-gnu; do
        command -v "${tool%=*}" >/dev/null || printf ' %s' "${tool#*=}"
    done
}

install_tools() {
    missing=$(missing_tools)
    if [ -z "$missing" ]; then return; fi
    # shellcheck disable=SC2086  # one word a package
    install_debian "what the tests run is" $missing && [ -z "$(missing_tools)" ] ||
        refuse "apt-get could not install$missing: install it, then try again"
}

# Tests that open pages are skipped where there is none, so that is said, and is no failure.
install_browser() {
    for browser in chromium-headless-shell chromium chromium-browser google-chrome; do
        if command -v "$browser" >/dev/null; then return; fi
    done
    # In a shell of its own, which a refusal ends instead of this one.
    (install_debian "a browser for the tests is" chromium-headless-shell) ||
        say "no browser: the tests that open pages will be skipped"
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
test)
    extras="torch,train,onnx,gpu,rtl,synthesis,explore,cluster,test,dev,notebooks,docs"
    named="torch, onnx and what the tests use"
    ;;
*) refuse "what to set up must be run or test, not '$what'" ;;
esac

check_links
find_python
if [ "$what" = test ]; then install_tools; fi
key=$({
    cat pyproject.toml constraints.txt tools/setup.sh tools/scalesim-requirements.txt
    "$python" --version
    echo "$root"
} | cksum)
stamp=.venv/.setup-$what
if [ "$(cat "$stamp" 2>/dev/null)" = "$key" ]; then exit 0; fi

if [ "$what" = test ]; then install_browser; fi
make_venv
install "$extras" "$named"
if [ "$what" = test ]; then
    say "installing SCALE-Sim, which the tests compare with, into .venvs/scalesim"
    PYTHON='' tools/scalesim_env.sh
fi
printf '%s\n' "$key" >.venv/.setup-run
printf '%s\n' "$key" >"$stamp"
say "done"
