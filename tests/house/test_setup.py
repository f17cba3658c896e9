"""`tools/setup.sh` on machines that are not ready: links missing, Python too old, no venv module.

The script is the real one, run in a small copy of the tree on a PATH that holds only what a test
puts there: stand-ins for Python, apt-get and sudo that write down how they were called.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = sorted(path.name for path in (ROOT / "src/nofm").iterdir() if path.is_symlink())
NEEDED = ["cat", "cksum", "cp", "dirname", "env", "grep", "head", "mkdir", "rm", "sh"]

# Answers the questions of the script, and makes environments that answer them too.
PYTHON = """#!/bin/sh
case "$*" in
*version_info\\ \\<*) exit {too_old} ;;
*ensurepip*) test -e "{venv_module}" ;;
*version_info*) echo 3.11 ;;
--version) echo "Python {version}" ;;
"-m venv "*)
    mkdir -p .venv/bin && cp "$0" .venv/bin/python && echo "#!$PWD/.venv/bin/python" >.venv/bin/pip
    ;;
"-m pip"*) echo "pip $*" >>"{log}" && test ! -e "{no_network}" ;;
esac
"""
APT_GET = """#!/bin/sh
echo "apt-get $*" >>"{log}"
test ! -e "{no_network}" || exit 1
for word in "$@"; do
    case $word in
    python*) : >"{venv_module}" ;;
    iverilog | g++ | make | perl) cp "$0" "{bin}/$word" ;;
    chromium-headless-shell) test ! -e "{no_browser}" || exit 1 ; cp "$0" "{bin}/$word" ;;
    gcc-aarch64-linux-gnu) cp "$0" "{bin}/aarch64-linux-gnu-gcc" ;;
    esac
done
"""
TOOLS = ["iverilog", "g++", "make", "perl", "aarch64-linux-gnu-gcc"]
BROWSER = "chromium-headless-shell"


@dataclass
class Machine:
    """A machine with a copy of the tree.

    Attributes:
        tree: the copy.
        bin: the one folder on its PATH.
        log: how the stand-ins were called, one line each.
        venv_module: exists where Python has its venv module.
        no_network: exists where nothing can be fetched.
        no_browser: exists where there is no package of a browser.
    """

    tree: Path
    bin: Path
    log: Path
    venv_module: Path
    no_network: Path
    no_browser: Path

    def add(self, name: str, text: str, **values: object) -> None:
        """Put the command `name` on the PATH."""
        paths = {"log": self.log, "venv_module": self.venv_module, "no_network": self.no_network}
        paths |= {"bin": self.bin, "no_browser": self.no_browser}
        (self.bin / name).write_text(text.format(**paths, **values), encoding="utf-8")
        (self.bin / name).chmod(0o755)

    def add_python(self, name: str = "python3", version: str = "3.11.2") -> None:
        too_old = int(tuple(map(int, version.split("."))) < (3, 11))
        self.add(name, PYTHON, version=version, too_old=too_old)

    def add_user(self, number: int) -> None:
        self.add("id", f"#!/bin/sh\necho {number}\n")

    def set_up(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["tools/setup.sh", *arguments],
            cwd=self.tree,
            env={"PATH": str(self.bin), **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    def calls(self) -> list[str]:
        """How the stand-ins were called since the last time this was asked."""
        if not self.log.exists():
            return []
        lines = self.log.read_text(encoding="utf-8").splitlines()
        self.log.unlink()
        return [line for line in lines if not line.endswith("--version")]

    def installs(self) -> list[str]:
        """What pip was asked to install, by call."""
        return [call.split(" install ")[1] for call in self.calls() if " install " in call]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """As root, with everything but Python."""
    made = Machine(
        tree=tmp_path / "a tree",
        bin=tmp_path / "bin",
        log=tmp_path / "log",
        venv_module=tmp_path / "venv-module",
        no_network=tmp_path / "no-network",
        no_browser=tmp_path / "no-browser",
    )
    made.bin.mkdir()
    for name in NEEDED:
        found = shutil.which(name)
        assert found is not None
        (made.bin / name).symlink_to(found)
    made.venv_module.touch()
    for name in (*TOOLS, BROWSER):
        made.add(name, "#!/bin/sh\n")
    made.add_user(0)

    (made.tree / "src/nofm").mkdir(parents=True)
    shutil.copytree(ROOT / "tools", made.tree / "tools")
    (made.tree / "tools/scalesim_env.sh").write_text(
        f'#!/bin/sh\necho "scalesim PYTHON=$PYTHON" >>"{made.log}"\n', encoding="utf-8"
    )
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, made.tree)
    for name in FOLDERS:
        (made.tree / name).mkdir()
        (made.tree / "src/nofm" / name).symlink_to(f"../../{name}")
    return made


RUN = [
    "-c constraints.txt pip hatchling",
    "-c constraints.txt --no-build-isolation -e .[torch,onnx]",
]
TEST = [
    RUN[0],
    "-c constraints.txt --no-build-isolation "
    "-e .[torch,train,onnx,gpu,rtl,synthesis,explore,cluster,test,dev,notebooks,docs]",
]
QUIET = "--quiet "


def test_sets_up_once(machine: Machine) -> None:
    machine.add_python()
    done = machine.set_up("run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "setup: making .venv with Python 3.11.2",
        "setup: installing pip and hatchling, which build and install the project",
        "setup: installing nofm, its libraries, torch and onnx"
        " (the first time: hundreds of megabytes, or 5 GB where pip's torch comes with CUDA)",
        "setup: done",
    ]
    assert machine.installs() == [QUIET + one for one in RUN]

    again = machine.set_up("run")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert machine.calls() == []


def test_tests_need_more_and_cover_the_rest(machine: Machine) -> None:
    machine.add_python()
    assert machine.set_up("run").returncode == 0
    machine.calls()
    assert machine.set_up("test", PYTHON="python3").returncode == 0
    calls = machine.calls()
    assert [call.split(" install ")[1] for call in calls[:-1]] == [QUIET + one for one in TEST]
    assert calls[-1] == "scalesim PYTHON="
    for what in ("run", "test"):
        assert machine.set_up(what).stdout == ""
    assert machine.calls() == []


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "tools/setup.sh"])
def test_a_change_sets_up_again(machine: Machine, name: str) -> None:
    machine.add_python()
    machine.set_up("run")
    with (machine.tree / name).open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    machine.calls()
    assert machine.set_up("run").returncode == 0
    assert machine.installs() == [QUIET + one for one in RUN]


def test_an_interrupted_set_up_is_done_again(machine: Machine) -> None:
    machine.add_python()
    machine.no_network.touch()
    assert machine.set_up("run").returncode != 0
    machine.no_network.unlink()
    machine.calls()
    assert machine.set_up("run").returncode == 0
    assert machine.installs() == [QUIET + one for one in RUN]


def test_an_environment_of_another_folder_is_made_again(machine: Machine) -> None:
    machine.add_python()
    machine.set_up("run")
    machine.tree = machine.tree.rename(machine.tree.with_name("moved"))
    done = machine.set_up("run")
    assert done.returncode == 0
    assert "setup: the .venv that is here does not work: making it again" in done.stdout


def without_links(machine: Machine, name: str) -> None:
    """As git checks a link out where there are none: a file that holds its target."""
    (machine.tree / "src/nofm" / name).unlink()
    (machine.tree / "src/nofm" / name).write_text(f"../../{name}", encoding="utf-8")


def copied(machine: Machine, name: str) -> None:
    """As a copy that follows links leaves it."""
    (machine.tree / "src/nofm" / name).unlink()
    (machine.tree / "src/nofm" / name).mkdir()


def dangling(machine: Machine, name: str) -> None:
    (machine.tree / name).rmdir()


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("damage", [without_links, copied, dangling])
def test_links_are_asked_for_first(machine: Machine, damage: object, name: str) -> None:
    assert callable(damage)
    machine.add_python()
    damage(machine, name)
    done = machine.set_up("run")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"setup: src/nofm/{name} must be a symbolic link to ../../{name}, and is not: check out"
        " again where symbolic links work (Linux, macOS, WSL; git's core.symlinks true)\n"
    )
    assert machine.calls() == []
    assert not (machine.tree / ".venv").exists()


def test_no_python(machine: Machine) -> None:
    done = machine.set_up("run")
    assert done.returncode == 1
    assert done.stderr == (
        "setup: Python 3.11 or newer is needed,"
        " and neither python3 nor python3.11 to 3.13 is that\n"
    )


def test_newer_python_beside_an_old_one(machine: Machine) -> None:
    machine.add_python("python3", "3.10.12")
    machine.add_python("python3.12", "3.12.4")
    assert "setup: making .venv with Python 3.12.4" in machine.set_up("run").stdout


def test_python_can_be_chosen(machine: Machine) -> None:
    machine.add_python("python3", "3.11.2")
    machine.add_python("mine", "3.13.1")
    done = machine.set_up("run", PYTHON="mine")
    assert "setup: making .venv with Python 3.13.1" in done.stdout


def test_chosen_python_is_too_old(machine: Machine) -> None:
    machine.add_python("python3", "3.11.2")
    machine.add_python("mine", "3.9.1")
    done = machine.set_up("run", PYTHON="mine")
    assert done.returncode == 1
    assert done.stderr == "setup: PYTHON=mine must be Python 3.11 or newer, and is not\n"


def test_unknown_set_up(machine: Machine) -> None:
    done = machine.set_up("all")
    assert done.returncode == 1
    assert done.stderr == "setup: what to set up must be run or test, not 'all'\n"


@pytest.mark.parametrize("as_root", [True, False])
def test_missing_venv_module_is_installed(machine: Machine, as_root: bool) -> None:
    machine.add_python()
    machine.venv_module.unlink()
    machine.add("apt-get", APT_GET)
    if not as_root:
        machine.add_user(1000)
        machine.add("sudo", '#!/bin/sh\necho "sudo $*" >>"{log}"\nexec "$@"\n')
    done = machine.set_up("run")
    assert done.returncode == 0, done.stderr
    said = f"installing python3.11-venv with {'' if as_root else 'sudo '}apt-get"
    assert done.stdout.splitlines()[0] == f"setup: Python's venv module is missing: {said}"
    calls = machine.calls()
    assert "apt-get update -qq" in calls
    assert "apt-get install -y -qq python3.11-venv" in calls
    assert [call for call in calls if call.startswith("sudo")] == (
        []
        if as_root
        else [
            "sudo apt-get update -qq",
            "sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3.11-venv",
        ]
    )


def test_missing_tools_are_installed_for_the_tests_alone(machine: Machine) -> None:
    machine.add_python()
    machine.add("apt-get", APT_GET)
    for name in ("iverilog", "perl", "aarch64-linux-gnu-gcc"):
        (machine.bin / name).unlink()
    assert machine.set_up("run").returncode == 0
    machine.calls()
    done = machine.set_up("test")
    assert done.returncode == 0, done.stderr
    packages = "iverilog perl gcc-aarch64-linux-gnu"
    said = f"what the tests run is missing: installing {packages} with apt-get"
    assert done.stdout.splitlines()[0] == f"setup: {said}"
    assert machine.calls()[:2] == [
        "apt-get update -qq",
        f"apt-get install -y -qq {packages}",
    ]


def test_tools_cannot_be_installed(machine: Machine) -> None:
    machine.add_python()
    machine.no_network.touch()
    machine.add("apt-get", APT_GET)
    for name in TOOLS:
        (machine.bin / name).unlink()
    done = machine.set_up("test")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "setup: apt-get could not install iverilog g++ make perl gcc-aarch64-linux-gnu: "
        "install it, then try again"
    )


def test_a_missing_browser_is_installed_once_and_for_the_tests_alone(machine: Machine) -> None:
    machine.add_python()
    machine.add("apt-get", APT_GET)
    (machine.bin / BROWSER).unlink()
    assert machine.set_up("run").returncode == 0
    assert not [call for call in machine.calls() if call.startswith("apt-get")]
    done = machine.set_up("test")
    assert done.returncode == 0, done.stderr
    said = f"setup: a browser for the tests is missing: installing {BROWSER} with apt-get"
    assert done.stdout.splitlines()[0] == said
    assert f"apt-get install -y -qq {BROWSER}" in machine.calls()


@pytest.mark.parametrize("name", ["chromium", "chromium-browser", "google-chrome"])
def test_another_browser_is_as_good(machine: Machine, name: str) -> None:
    machine.add_python()
    machine.add("apt-get", APT_GET)
    (machine.bin / BROWSER).rename(machine.bin / name)
    assert machine.set_up("test").returncode == 0
    assert not [call for call in machine.calls() if call.startswith("apt-get")]


@pytest.mark.parametrize("has_apt", [True, False])
def test_without_a_browser_set_up_goes_on(machine: Machine, has_apt: bool) -> None:
    machine.add_python()
    if has_apt:
        machine.add("apt-get", APT_GET)
    machine.no_browser.touch()
    (machine.bin / BROWSER).unlink()
    done = machine.set_up("test")
    assert done.returncode == 0, done.stderr
    said = "setup: no browser: the tests that open pages will be skipped"
    assert said in done.stdout.splitlines()
    # It is not tried again each time.
    assert machine.set_up("test").stdout == ""


def test_missing_venv_module_without_sudo(machine: Machine) -> None:
    machine.add_python()
    machine.venv_module.unlink()
    machine.add_user(1000)
    machine.add("apt-get", APT_GET)
    done = machine.set_up("run")
    assert done.returncode == 1
    assert done.stderr == (
        "setup: Python's venv module is missing: run 'apt-get install python3.11-venv' as root,"
        " then try again\n"
    )
    assert machine.calls() == []


def test_missing_venv_module_without_apt(machine: Machine) -> None:
    machine.add_python()
    machine.venv_module.unlink()
    done = machine.set_up("run")
    assert done.returncode == 1
    assert done.stderr == (
        "setup: Python's venv module is missing and there is no apt-get: install it, then try"
        " again\n"
    )


def test_venv_module_cannot_be_installed(machine: Machine) -> None:
    machine.add_python()
    machine.venv_module.unlink()
    machine.no_network.touch()
    machine.add("apt-get", APT_GET)
    done = machine.set_up("run")
    assert done.returncode == 1
    assert done.stderr == (
        "setup: apt-get could not install python3.11-venv: install it, then try again\n"
    )
    assert not (machine.tree / ".venv").exists()


def test_works_in_any_posix_shell() -> None:
    """`sh -n` reads the scripts without a word, and they name no other shell."""
    for script in sorted((ROOT / "tools").glob("*.sh")):
        assert script.read_text(encoding="utf-8").startswith("#!/bin/sh\n")
        assert os.access(script, os.X_OK)
        subprocess.run(["sh", "-n", script], check=True)
