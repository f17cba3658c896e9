"""The same sweep on a real Dask scheduler and real workers, one of which dies in the middle."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nofm.explore import cluster, explore_space
from nofm.kernels.errors import InputError

Make = Callable[..., dict[str, Any]]
SRC = Path(__file__).resolve().parents[2] / "src"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def running(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of Dask's, which ends with the block."""
    path = os.pathsep.join([str(SRC), os.environ.get("PYTHONPATH", "")])
    settings = {"PYTHONPATH": path, "DASK_DISTRIBUTED__WORKER__PRELOAD": "[]"}
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments, "--no-dashboard"],
        env=os.environ | settings,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def scheduler(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = free_port()
    arguments = ("--host", "127.0.0.1", "--port", str(port), "--no-show")
    with running(folder, "distributed.cli.dask_scheduler", *arguments) as process:
        for _ in range(3000):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert process.poll() is None
            time.sleep(0.02)
        yield f"tcp://127.0.0.1:{port}", process


def worker(folder: Path, address: str) -> contextlib.AbstractContextManager[Any]:
    options = ("--nthreads", "2", "--no-nanny", "--memory-limit", "0")
    return running(folder, "distributed.cli.dask_worker", address, *options)


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_worker_dies_and_the_result_is_the_same(small: Make, tmp_path: Path) -> None:
    parameters = {"pattern": ["2:4", "1:8"], "array.rows": {"from": 2, "to": 31, "step": 1}}
    space = small(parameters=parameters, search={"part": 2})
    explore_space(space, tmp_path / "here")
    told: list[int] = []
    with (
        scheduler(tmp_path) as (address, _),
        worker(tmp_path, address) as first,
        worker(tmp_path, address),
    ):

        def kill(done: int, total: int, front: int) -> None:
            told.append(done)
            if len(told) == 4:
                first.send_signal(signal.SIGKILL)

        explore_space(space, tmp_path / "there", scheduler=address, progress=kill)
        assert first.wait() == -signal.SIGKILL
        # A guided search goes there as well.
        search = {"kind": "nsga2", "trials": 30, "part": 10}
        found = explore_space(small(parameters=parameters, search=search), scheduler=address)
        here = explore_space(small(parameters=parameters, search=search))
        assert found.document == here.document
    assert told == list(range(0, 62, 2))
    assert content(tmp_path / "there") == content(tmp_path / "here")


def test_the_scheduler_dies_and_the_sweep_goes_on_without(small: Make, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with scheduler(tmp_path) as (address, process), worker(tmp_path, address):

        def kill(done: int, total: int, front: int) -> None:
            if done == 10:
                process.kill()

        with pytest.raises(InputError) as caught:
            explore_space(small(search={"part": 2}), folder, scheduler=address, progress=kill)
    assert str(caught.value).startswith(f"the cluster at {address} cannot go on: ")
    assert "\n" not in str(caught.value)
    assert 5 <= len(list(folder.glob("parts/*.parquet"))) < 12
    explore_space(small(search={"part": 2}), folder)
    explore_space(small(search={"part": 2}), tmp_path / "undisturbed")
    assert content(folder) == content(tmp_path / "undisturbed")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("localhost", "missing port number in address 'localhost'"),
        ("foo://localhost:1", "unknown address scheme 'foo' (known schemes: "),
        ("tcp://127.0.0.1:{port}", "Timed out trying to connect to tcp://127.0.0.1:"),
    ],
)
def test_no_scheduler(
    small: Make, tmp_path: Path, address: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "SECONDS_TO_CONNECT", 1)
    address = address.format(port=free_port())
    with pytest.raises(InputError) as caught:
        explore_space(small(), tmp_path / "out", scheduler=address)
    assert str(caught.value).startswith(f"cannot reach the scheduler {address!r}: {reason}")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_without_dask(small: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(InputError) as caught:
        explore_space(small(), tmp_path / "out", scheduler="tcp://127.0.0.1:8786")
    assert str(caught.value) == (
        "--scheduler needs dask.distributed, which is not installed: pip install 'nofm[cluster]'"
    )
    assert not (tmp_path / "out").exists()


def test_workers_with_other_code_are_refused() -> None:
    with pytest.raises(RuntimeError, match=r"^a worker has nofm .*, and not nofm 9, results 9$"):
        cluster._work("nofm 9, results 9", None, None)  # type: ignore[arg-type]
