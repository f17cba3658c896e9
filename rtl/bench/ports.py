"""A port of the design under test, read and written as an unsigned number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class PortError(AssertionError):
    """A port has unknown bits where they count."""


class Port:
    """One port, by name.

    Attributes:
        name: the port's name.
        bits: its width.
        text: reads the bits as a text, the highest first; unknown ones are letters.
    """

    def __init__(self, dut: Any, name: str) -> None:
        self._handle = getattr(dut, name)
        self.name = name
        self.bits = len(self._handle)
        # What stands below cocotb's handle: its value objects take four times as long to make, and
        # ports are read in every cycle.
        self.text = self._handle._handle.get_signal_val_binstr

    def read(self) -> int:
        """The value now; at a clock edge, the one from before the edge.

        Raises:
            PortError: a bit is neither 0 nor 1.
        """
        text = self.text()
        try:
            return int(text, 2)
        except ValueError:
            raise PortError(f"{self.name} is {text}") from None

    def write(self, value: int) -> None:
        """Set the value; at a clock edge, the one after the edge."""
        self._handle.value = value


class Joined:
    """Several ports, read and written as one number: the first one has the low bits.

    Attributes:
        name, bits, text: as of a `Port`.
    """

    def __init__(self, name: str, ports: Sequence[Port]) -> None:
        self.name = name
        self.bits = sum(port.bits for port in ports)
        self._ports = list(ports)

    def text(self) -> str:
        """The bits, the highest first; unknown ones are letters."""
        return "".join(port.text() for port in reversed(self._ports))

    def read(self) -> int:
        """As of a `Port`."""
        text = self.text()
        try:
            return int(text, 2)
        except ValueError:
            raise PortError(f"{self.name} is {text}") from None

    def write(self, value: int) -> None:
        """As of a `Port`."""
        for port in self._ports:
            port.write(value & (1 << port.bits) - 1)
            value >>= port.bits
