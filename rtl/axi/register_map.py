"""Register maps: one definition, from which hardware, headers and documents are made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from nofm.kernels.errors import InputError

WORD_BITS, WORD_BYTES = 32, 4
NAME = re.compile(r"[a-z][a-z0-9_]*")


class Access(Enum):
    """Who may change a field, and how.

    Attributes:
        RW: the bus reads and writes it; hardware reads it.
        RO: the bus reads what hardware says now.
        W1C: hardware sets its bits, the bus reads them and clears those that it writes as 1.
        PULSE: one bit. Written as 1 it is high in hardware for one cycle; it reads as 0.
    """

    RW = "rw"
    RO = "ro"
    W1C = "w1c"
    PULSE = "pulse"


def _check_name(what: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise InputError(f"a name of {what} must be lower-case letters, digits and _, not {name!r}")


@dataclass(frozen=True)
class Field:
    """Neighbouring bits of a register.

    Attributes:
        name: lower case.
        bits: width, 1 to 32; 1 of a PULSE.
        access: see `Access`.
        meaning: one sentence or more.
        reset: value after reset; only RW and W1C have one.
        low: its lowest bit; that behind the field before it, where not given.

    Raises:
        InputError: a name that is none, or numbers that do not fit.
    """

    name: str
    bits: int
    access: Access
    meaning: str
    reset: int = 0
    low: int | None = None

    def __post_init__(self) -> None:
        _check_name("a field", self.name)
        if not 1 <= self.bits <= WORD_BITS:
            raise InputError(
                f"bits of field {self.name} must be from 1 to {WORD_BITS}, not {self.bits}"
            )
        if self.access is Access.PULSE and self.bits != 1:
            raise InputError(
                f"bits of field {self.name} must be 1, as its access is pulse, not {self.bits}"
            )
        if not 0 <= self.reset < 1 << self.bits:
            raise InputError(
                f"reset of field {self.name} must be from 0 to {(1 << self.bits) - 1}, "
                f"not {self.reset}"
            )
        if self.reset and self.access in (Access.RO, Access.PULSE):
            raise InputError(
                f"reset of field {self.name} must be 0, as its access is {self.access.value}, "
                f"not {self.reset}"
            )

    @property
    def mask(self) -> int:
        """Ones, as many as it has bits."""
        return (1 << self.bits) - 1


@dataclass(frozen=True)
class Register:
    """A word of 32 bits.

    Attributes:
        name: lower case.
        meaning: one sentence or more.
        fields: from the lowest on.
        offset: in bytes; that behind the register before it, where not given.
    """

    name: str
    meaning: str
    fields: tuple[Field, ...]
    offset: int | None = None

    def placed(self) -> Iterator[tuple[int, Field]]:
        """Every field with its lowest bit."""
        at = 0
        for field in self.fields:
            at = at if field.low is None else field.low
            yield at, field
            at += field.bits

    @property
    def reset(self) -> int:
        """The word after reset, with 0 for what hardware says."""
        return sum(field.reset << low for low, field in self.placed())


@dataclass(frozen=True)
class RegisterMap:
    """Registers behind one AXI4-Lite port.

    Attributes:
        name: lower case.
        meaning: one sentence or more.
        registers: in the order of their offsets.
        address_bits: width of the port's addresses.

    Raises:
        InputError: names that stand twice, registers or fields that overlap or lie outside.
    """

    name: str
    meaning: str
    registers: tuple[Register, ...]
    address_bits: int = 12

    def __post_init__(self) -> None:
        _check_name("a register map", self.name)
        end = 0
        for offset, register in self.placed():
            _check_name("a register", register.name)
            if offset % WORD_BYTES or not end <= offset <= (1 << self.address_bits) - WORD_BYTES:
                raise InputError(
                    f"offset of register {register.name} must be a multiple of {WORD_BYTES} from "
                    f"{end} to {(1 << self.address_bits) - WORD_BYTES}, not {offset}"
                )
            end = offset + WORD_BYTES
            bit = 0
            for low, field in register.placed():
                if not bit <= low <= WORD_BITS - field.bits:
                    raise InputError(
                        f"low of field {register.name}.{field.name} must be from {bit} to "
                        f"{WORD_BITS - field.bits}, not {low}"
                    )
                bit = low + field.bits
        names = [register.name for register in self.registers]
        names += [self.port(register, field) for register, _, field in self.fields()]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"names of registers and fields must differ: {name} stands twice")
        if not self.registers or not all(register.fields for register in self.registers):
            raise InputError(f"register map {self.name} must have registers, and these fields")

    def placed(self) -> Iterator[tuple[int, Register]]:
        """Every register with its offset in bytes."""
        at = 0
        for register in self.registers:
            at = at if register.offset is None else register.offset
            yield at, register
            at += WORD_BYTES

    def fields(self) -> Iterator[tuple[Register, int, Field]]:
        """Every field with its register and its lowest bit."""
        for register in self.registers:
            for low, field in register.placed():
                yield register, low, field

    @staticmethod
    def port(register: Register, field: Field) -> str:
        """What hardware calls a field."""
        return f"{register.name}_{field.name}"
