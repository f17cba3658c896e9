"""Taking turns: which of several clients is next."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.chip.chunks import client_bits
from nofm.rtl.hierarchy import Unit


class Turns(Unit):
    """Chooses the next client behind the last one that was served, round and round.

    | port | width | direction | |
    |---|---|---|---|
    | wants | `clients` | in | those that want to be served |
    | serve | 1 | in | the chosen one is served in this cycle |
    | any | 1 | out | one wants to be |
    | chosen | number of a client | out | who is next; within the cycle |
    """

    def __init__(self, clients: int) -> None:
        self.clients = clients
        self.module_name = f"nofm_turns_{clients}"
        super().__init__(
            {
                "wants": In(clients),
                "serve": In(1),
                "any": Out(1),
                "chosen": Out(client_bits(clients)),
            }
        )
        self._last = Signal.like(self.chosen, name="last")

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        last = self._last
        m.d.comb += self.any.eq(self.wants.any())
        # The lowest one, and before it the lowest one behind the last.
        for client in reversed(range(self.clients)):
            with m.If(self.wants[client]):
                m.d.comb += self.chosen.eq(client)
        for client in reversed(range(1, self.clients)):
            with m.If(self.wants[client] & (last < client)):
                m.d.comb += self.chosen.eq(client)
        with m.If(self.serve):
            m.d.sync += last.eq(self.chosen)
        return m
