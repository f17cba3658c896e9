"""Datapath: the units that do a program's jobs, with the memories between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Member, Out

from nofm.dataflow.accelerator import Accelerator
from nofm.rtl.axi.bus import Bus
from nofm.rtl.chip.activation_feeder import ActivationFeeder
from nofm.rtl.chip.chunks import client_command, client_word
from nofm.rtl.chip.collector import Collector
from nofm.rtl.chip.control import SPENT_BITS
from nofm.rtl.chip.dispatcher import job_ports
from nofm.rtl.chip.lag import activation_lag, weight_lag
from nofm.rtl.chip.loader import Loader
from nofm.rtl.chip.prune import PruneUnit
from nofm.rtl.chip.register_file import CONFLICTS, SPENT
from nofm.rtl.chip.results import Results
from nofm.rtl.chip.storer import Storer
from nofm.rtl.chip.update import UpdateUnit
from nofm.rtl.chip.vector import VectorUnit
from nofm.rtl.chip.vector_geometry import VectorGeometry
from nofm.rtl.chip.weight_feeder import WeightFeeder
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.pregeneration.geometry import Geometry as UpdateGeometry
from nofm.rtl.program.descriptors import ProgramFormat
from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.sore.geometry import Geometry as PruneGeometry
from nofm.rtl.stce.geometry import Geometry
from nofm.rtl.stce.stce import Stce

SPARE = 16
"""Words of a lane's queue beside those that its lag behind the first one needs."""


@dataclass(frozen=True)
class Client:
    """A client of memory: the unit that it belongs to, and what its ports there begin with."""

    unit: str
    prefix: str = ""

    @property
    def name(self) -> str:
        """Of the client."""
        return f"{self.unit}_{self.prefix}".rstrip("_")


READERS = (
    Client("load_activations"),
    Client("load_weights"),
    Client("vector", "a_"),
    Client("vector", "b_"),
    Client("update", "weight_"),
    Client("update", "momentum_"),
    Client("update", "gradient_"),
    Client("prune", "dense_"),
)
"""Clients that read memory, in the order of their lanes."""

WRITERS = (
    Client("store"),
    Client("vector", "result_"),
    Client("update", "new_weight_"),
    Client("update", "new_momentum_"),
    Client("update", "half_"),
    Client("update", "rows_"),
    Client("update", "columns_"),
    Client("prune", "rows_"),
    Client("prune", "columns_"),
)
"""Clients that write memory."""


class Datapath(Unit):
    """All units of a chip but for its control, and what connects them.

    Jobs come as `Control` hands them out. Clients of memory are lanes, in the order of `READERS`
    and `WRITERS`.

    | port | width | direction | |
    |---|---|---|---|
    | UNIT_valid, UNIT_ready, UNIT_data | 1, 1, that of its job | in, out, in | of each unit |
    | unit_busy | units | out | the unit has a job; from the cycle after it took it on |
    | unit_moves | units | out | the unit does something in this cycle |
    | read_command_valid, _ready, _data | a lane a reader, `client_command` | out, in, out | |
    | read_valid, read_ready, read_data | a lane a reader, `client_word` | in, out, in | |
    | write_command_valid, _ready, _data | a lane a writer, `client_command` | out, in, out | |
    | write_valid, write_ready, write_data | a lane a writer, `data_bits` | out, in, out | |
    | write_done | a lane a writer | in | memory has answered all of a command |
    | spent_... | 32 | out | cycles of `SPENT` of a job of the array, in the one in which it ends |
    | event_... | 1 | out | what of `CONFLICTS` happens in this cycle |
    """

    def __init__(self, accelerator: Accelerator, bus: Bus, form: ProgramFormat) -> None:
        self.accelerator, self.bus, self.form = accelerator, bus, form
        self.module_name = "nofm_chip_datapath"
        ports: dict[str, Member] = {}
        for unit in form.units:
            ports |= {name: port.flip() for name, port in job_ports(unit.name, unit.width).items()}
        command, word = sum(client_command(bus).values()), sum(client_word(bus).values())
        readers, writers = len(READERS), len(WRITERS)
        for name, lanes in (("read", readers), ("write", writers)):
            ports |= {
                f"{name}_command_valid": Out(lanes),
                f"{name}_command_ready": In(lanes),
                f"{name}_command_data": Out(lanes * command),
            }
        super().__init__(
            {
                **ports,
                "unit_busy": Out(len(form.units)),
                "unit_moves": Out(len(form.units)),
                "read_valid": In(readers),
                "read_ready": Out(readers),
                "read_data": In(readers * word),
                "write_valid": Out(writers),
                "write_ready": In(writers),
                "write_data": Out(writers * bus.data_bits),
                "write_done": In(writers),
                **{f"spent_{name}": Out(SPENT_BITS) for name in SPENT},
                **{f"event_{name}": Out(1) for name in CONFLICTS},
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        accelerator, bus = self.accelerator, self.bus
        sizes, geometry = ChipSizes.of(accelerator), Geometry.of(accelerator)
        self.units: dict[str, Unit] = {
            "load_activations": Loader(sizes, "activations"),
            "load_weights": Loader(sizes, "weights"),
            "array": Stce(geometry),
            "feed_activations": ActivationFeeder(sizes, activation_lag(geometry) + SPARE),
            "feed_weights": WeightFeeder(sizes, weight_lag(geometry) + SPARE),
            "collect": Collector(sizes),
            "store": Storer(sizes),
            "vector": VectorUnit(sizes, bus, VectorGeometry.of(accelerator)),
            "update": UpdateUnit(sizes, bus, UpdateGeometry.of(accelerator)),
            "prune": PruneUnit(sizes, bus, PruneGeometry.of(accelerator)),
        }
        assert list(self.units) == [unit.name for unit in self.form.units]
        for name, unit in self.units.items():
            place(m, platform, name, unit)
            m.d.comb += [
                unit.job_valid.eq(getattr(self, f"{name}_valid")),
                unit.job_data.eq(getattr(self, f"{name}_data")),
                getattr(self, f"{name}_ready").eq(unit.job_ready),
            ]
        self._buffers(m, platform, sizes)
        self._array(m)
        self._clients(m)
        busy = [
            unit.busy if hasattr(unit, "busy") else self._array_busy(m)
            for unit in self.units.values()
        ]
        m.d.comb += [
            self.unit_busy.eq(Cat(busy)),
            self.unit_moves.eq(Cat(self._moves(name) for name in self.units)),
        ]
        return m

    def _buffers(self, m: Module, platform: Any, sizes: ChipSizes) -> None:
        """What is written to a buffer by one unit and read by another."""
        units, results = self.units, Results(sizes)
        place(m, platform, "results", results)
        for loader, feeder in (
            ("load_activations", "feed_activations"),
            ("load_weights", "feed_weights"),
        ):
            for port in ("valid", "at", "count", "data", "skew"):
                given = getattr(units[loader], f"write_{port}")
                m.d.comb += getattr(units[feeder], f"write_{port}").eq(given)
        collect, store = units["collect"], units["store"]
        m.d.comb += [
            *(
                getattr(results, n).eq(getattr(collect, n))
                for n in ("write_enable", "write_at", "write_data")
            ),
            *(getattr(results, n).eq(getattr(store, n)) for n in ("read_enable", "read_at")),
            store.read_data.eq(results.read_data),
        ]

    def _array(self, m: Module) -> None:
        """What the array gets and gives."""
        units = self.units
        array = units["array"]
        for stream, owner in (
            ("activations", "feed_activations"),
            ("row_weights", "feed_weights"),
            ("column_weights", "feed_weights"),
        ):
            source = units[owner]
            m.d.comb += [
                getattr(array, f"{stream}_valid").eq(getattr(source, f"{stream}_valid")),
                getattr(array, f"{stream}_data").eq(getattr(source, f"{stream}_data")),
                getattr(source, f"{stream}_ready").eq(getattr(array, f"{stream}_ready")),
            ]
        collect = units["collect"]
        m.d.comb += [
            collect.results_valid.eq(array.results_valid),
            collect.results_data.eq(array.results_data),
            array.results_ready.eq(collect.results_ready),
        ]
        for name in SPENT:
            count = getattr(array, f"count_{name}")
            m.d.comb += getattr(self, f"spent_{name}").eq(Mux(array.done, count, 0))
        m.d.comb += [
            self.event_conflict_activations.eq(units["feed_activations"].conflict),
            self.event_conflict_weights.eq(units["feed_weights"].conflict),
        ]

    def _array_busy(self, m: Module) -> Signal:
        """Whether the array has a job: it may take one in the last cycle of the one before."""
        array, jobs = self.units["array"], Signal(2, name="array_jobs")
        m.d.sync += jobs.eq(jobs + (array.job_valid & array.job_ready) - array.done)
        return jobs.any()

    def _moves(self, name: str) -> Any:
        """Whether anything passes the ports of a unit."""
        unit = self.units[name]
        moves = [
            (getattr(unit, f"{port.removesuffix('_valid')}_ready") & getattr(unit, port)).any()
            for port in unit.signature.members
            if port.endswith("_valid")
            and f"{port.removesuffix('_valid')}_ready" in unit.signature.members
        ]
        return Cat(moves).any()

    def _clients(self, m: Module) -> None:
        """Every client of memory is a lane."""
        for kind, clients in (("read", READERS), ("write", WRITERS)):
            for lane, client in enumerate(clients):
                for port, outer, into in self._client_ports(kind, client):
                    inner, lanes = getattr(self.units[client.unit], port), getattr(self, outer)
                    # A loader does not ask whether a word is its command's last.
                    lane_of = lanes.word_select(lane, len(lanes) // len(clients))
                    m.d.comb += inner.eq(lane_of) if into else lane_of.eq(inner)

    @staticmethod
    def _client_ports(kind: str, client: Client) -> Iterator[tuple[str, str, bool]]:
        """Ports of a unit and of the datapath that belong together, and whether the unit's is an
        input."""
        reads = kind == "read"
        words = "in" if reads else "out"
        for what in ("valid", "ready", "data"):
            yield f"{client.prefix}command_{what}", f"{kind}_command_{what}", what == "ready"
            yield f"{client.prefix}{words}_{what}", f"{kind}_{what}", (what == "ready") != reads
        if not reads:
            done = f"{client.prefix}done" if client.prefix else "command_done"
            yield done, "write_done", True
