"""A port of the design under test, read and written as an unsigned number."""

from __future__ import annotations

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
