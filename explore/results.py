"""From the parts of a sweep to its result: one table in the order of the designs, and the front."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from nofm.explore.evaluate import schema
from nofm.explore.front import Front
from nofm.explore.space import Space
from nofm.explore.store import RESULTS, Store
from nofm.kernels.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

ROWS = 1 << 17
"""Designs of a row group: what is in memory at a time."""

MOST_ERRORS = 1000
"""Different errors that are counted."""


@dataclass
class Tally:
    """What a sweep found.

    Attributes:
        evaluated, failed, feasible: numbers of designs.
        errors: how often each error was met.
        front: the designs of the front with all columns, best in the first objective first.
    """

    evaluated: int = 0
    failed: int = 0
    feasible: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    front: pa.Table = None

    def add(self, table: pa.Table) -> None:
        """Count designs."""
        self.evaluated += len(table)
        self.feasible += pc.sum(table["feasible"]).as_py() or 0
        texts = table["error"].filter(pc.not_equal(table["error"], ""))
        self.failed += len(texts)
        for entry in pc.value_counts(texts).to_pylist():
            if entry["values"] in self.errors or len(self.errors) < MOST_ERRORS:
                self.errors[entry["values"]] += entry["counts"]


def add_to_front(front: Front, space: Space, table: pa.Table) -> None:
    """Let the feasible designs of a part compete."""
    table = table.filter(table["feasible"])
    values = [table[o.name].to_numpy().astype(np.float64, copy=False) for o in space.objectives]
    front.add(table["design"].to_numpy(), np.stack(values, axis=1))


def write(store: Store, space: Space, parts: Iterable[pa.Table], front: Front) -> Tally:
    """Write `results.parquet`, in which `pareto` marks the front, a row group at a time.

    Args:
        parts: all of them, in the order of the designs.

    Raises:
        InputError: it cannot be written.
    """
    tally = Tally()
    whole = schema(space).append(pa.field("pareto", pa.bool_(), nullable=False))
    best = []
    marked = store.marked(whole.empty_table()).schema
    with (
        store.writing(RESULTS) as path,
        pq.ParquetWriter(path, marked, compression="zstd") as writer,
    ):
        for table in _grouped(parts):
            tally.add(table)
            pareto = np.isin(table["design"].to_numpy(), front.designs)
            table = table.append_column(whole.field("pareto"), pa.array(pareto))
            writer.write_table(store.marked(table), row_group_size=ROWS)
            best.append(table.filter(table["pareto"]))
    tally.front = sorted_front(space, pa.concat_tables(best) if best else whole.empty_table())
    return tally


def sample(path: Path, most: int) -> pd.DataFrame:
    """All designs of a result, or of more than `most` the front and that many others at random
    (the same ones each time), in order. A row group is in memory at a time."""
    file = pq.ParquetFile(path)
    count = file.metadata.num_rows
    kept = np.ones(count, np.bool_)
    if count > most:
        kept[:] = False
        kept[np.random.default_rng(0).choice(count, most, replace=False)] = True
    found, first = [], 0
    for batch in file.iter_batches():
        chosen = kept[first : first + len(batch)] | batch["pareto"].to_numpy(zero_copy_only=False)
        found.append(batch.filter(pa.array(chosen)))
        first += len(batch)
    frame: pd.DataFrame = pa.Table.from_batches(found, file.schema_arrow).to_pandas()
    return frame


def sorted_front(space: Space, table: pa.Table) -> pa.Table:
    """Rows of the front: by the first objective, then the next, then by number."""
    order = [(o.name, "descending" if o.maximise else "ascending") for o in space.objectives]
    return table.take(pc.sort_indices(table, [*order, ("design", "ascending")])).combine_chunks()


def to_csv(table: pa.Table) -> str:
    """A table as CSV with a header; what is unknown is an empty cell."""
    sink = io.BytesIO()
    options = pa.csv.WriteOptions(quoting_style="needed")
    pa.csv.write_csv(table.replace_schema_metadata(None), sink, options)
    return sink.getvalue().decode()


def in_order(store: Store, numbers: Iterable[int]) -> Iterator[pa.Table]:
    """The parts of an exhaustive sweep.

    Raises:
        InputError: one is damaged.
    """
    for number in numbers:
        table = store.part(number)
        if table is None:
            raise InputError(f"part {number} of {store.folder} is damaged: run the sweep again")
        yield table


def _grouped(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows, `ROWS` at a time."""
    waiting: list[pa.Table] = []
    rows = 0
    for part in parts:
        waiting.append(part)
        rows += len(part)
        if rows >= ROWS:
            whole = pa.concat_tables(waiting)
            while rows >= ROWS:
                yield whole.slice(0, ROWS)
                whole = whole.slice(ROWS)
                rows -= ROWS
            waiting = [whole] if rows else []
    if rows:
        yield pa.concat_tables(waiting)


def plain_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Rows as dicts of plain values; None where a figure is unknown."""
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
