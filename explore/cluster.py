"""The parts of a sweep on a cluster of Dask: the same tables, from many machines."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pyarrow as pa

from nofm.explore.evaluate import evaluate, only
from nofm.explore.space import Space, release
from nofm.explore.workers import AHEAD, Numbers, Part, packed, unpacked
from nofm.kernels.errors import InputError

if TYPE_CHECKING:
    from distributed import Client, Future

SECONDS_TO_CONNECT = 10


class Cluster:
    """The workers of a Dask scheduler. Dask gives the parts of a worker that dies to others.

    Args:
        space: the space.
        address: of the scheduler, as tcp://host:port.

    Raises:
        InputError: Dask is not installed, or there is no scheduler.
    """

    def __init__(self, space: Space, address: str) -> None:
        self._space = space
        self._address = address
        self._client = _connected(address)

    def __call__(self, parts: Iterable[Part]) -> Iterator[tuple[int, pa.Table]]:
        """Evaluate parts.

        Raises:
            InputError: workers cannot do it, or the scheduler has gone.
        """
        from distributed import as_completed

        todo = iter(parts)
        numbers: dict[str, int] = {}
        coming = as_completed(loop=self._client.loop)

        def send() -> None:
            # Workers may join or leave at any time.
            while len(numbers) < max(1, AHEAD * sum(self._client.nthreads().values())):
                part = next(todo, None)
                if part is None:
                    return
                future = self._submitted(part)
                numbers[future.key] = part[0]
                coming.add(future)

        try:
            send()
            for future in coming:
                table = unpacked(future.result())
                number = numbers.pop(future.key)
                future.release()
                send()
                yield number, table
        except (InputError, GeneratorExit):
            raise
        except (Exception, CancelledError, asyncio.CancelledError) as error:
            raise InputError(
                f"the cluster at {self._address} cannot go on: {_told(error)}"
            ) from error

    def _submitted(self, part: Part) -> Future:
        number, designs = part
        return self._client.submit(
            _work,
            release(),
            only(self._space, designs),
            designs,
            key=f"nofm-{self._client.id}-{number}",
            pure=False,
        )

    def close(self) -> None:
        """Leave the cluster; what it still does for this sweep is dropped."""
        self._client.close()


def _connected(address: str) -> Client:
    if find_spec("distributed") is None:
        raise InputError(
            "--scheduler needs dask.distributed, which is not installed: "
            "pip install 'nofm[cluster]'"
        )
    from distributed import Client
    from distributed.comm import connect

    async def probe() -> None:
        # A client that finds nobody would say so at length.
        comm = await connect(address, timeout=SECONDS_TO_CONNECT)
        await comm.close()

    try:
        asyncio.run(probe())
        return Client(address, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"cannot reach the scheduler {address!r}: {_told(error)}") from None


def _told(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


_lock = threading.Lock()


def _work(wanted: str, space: Space, designs: Numbers) -> bytes:
    if release() != wanted:
        raise RuntimeError(f"a worker has {release()}, and not {wanted}")
    with _lock:  # one part at a time, however many threads the worker has
        return packed(evaluate(space, designs))
