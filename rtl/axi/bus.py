"""Sizes of an AXI4 master, and the words of its streams."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from nofm.kernels.errors import InputError
from nofm.rtl.fields import pack

DATA_BITS = (64, 128, 256, 512)
GRANULES = (1, 2, 4)
PAGE_BYTES = 4096
"""No burst may cross a multiple of this (AMBA AXI protocol specification, A3.4.1)."""

MOST_BEATS = 256


def _log2(value: int) -> int:
    return value.bit_length() - 1


@dataclass(frozen=True)
class Bus:
    """Sizes of an AXI4 master.

    Addresses and lengths count *granules*: what commands can start at and consist of. Bursts end at
    multiples of `burst_beats`, so that none crosses 4 KiB.

    Attributes:
        data_bits: width of the data: one of `DATA_BITS`.
        address_bits: width of a byte address, 32 to 64.
        burst_beats: beats of the longest burst: a power of two from 2 to 256, at most 4 KiB.
        outstanding: bursts that may be under way at once, 1 to 32.
        queue_beats: beats that the master holds: at least those of the longest burst, for a burst
            is only asked for when there is room for all of it (read) or all of it is there (write).
        length_bits: width of a command's length in granules, less one; 16 to 32.
        tag_bits: width of a command's tag, 1 to 32.
        granule_bytes: one of `GRANULES`; 2 is an FP16 element.

    Raises:
        InputError: a size is outside of these.
    """

    data_bits: int = 128
    address_bits: int = 64
    burst_beats: int = 16
    outstanding: int = 8
    queue_beats: int = 128
    length_bits: int = 32
    tag_bits: int = 4
    granule_bytes: int = 2

    def __post_init__(self) -> None:
        for name, choices in (("data_bits", DATA_BITS), ("granule_bytes", GRANULES)):
            if (value := getattr(self, name)) not in choices:
                raise InputError(
                    f"{name} of a bus must be one of {', '.join(map(str, choices))}, not {value!r}"
                )
        beats = min(MOST_BEATS, PAGE_BYTES // (self.data_bits // 8))
        for name, least, most in (
            ("address_bits", 32, 64),
            ("burst_beats", 2, beats),
            ("outstanding", 1, 32),
            ("queue_beats", self.burst_beats, 1 << 16),
            ("length_bits", 16, 32),
            ("tag_bits", 1, 32),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or not least <= value <= most:
                raise InputError(f"{name} of a bus must be from {least} to {most}, not {value!r}")
        if self.burst_beats & (self.burst_beats - 1):
            raise InputError(
                f"burst_beats of a bus must be a power of two, not {self.burst_beats!r}"
            )

    @property
    def data_bytes(self) -> int:
        """Bytes of a beat."""
        return self.data_bits // 8

    @property
    def lanes(self) -> int:
        """Granules of a beat."""
        return self.data_bytes // self.granule_bytes

    @property
    def lane_bits(self) -> int:
        """Bits of a granule's number in its beat."""
        return _log2(self.lanes)

    @property
    def granule_bits(self) -> int:
        """Bits of a granule's data."""
        return 8 * self.granule_bytes

    @property
    def place_bits(self) -> int:
        """Bits of a beat's number in its burst."""
        return _log2(self.burst_beats)

    @property
    def granule_address_bits(self) -> int:
        """Bits of a granule's address."""
        return self.address_bits - _log2(self.granule_bytes)

    @property
    def beat_address_bits(self) -> int:
        """Bits of a beat's address."""
        return self.granule_address_bits - self.lane_bits

    @property
    def size(self) -> int:
        """AxSIZE: the logarithm of a beat's bytes."""
        return _log2(self.data_bytes)

    @property
    def commands(self) -> int:
        """Commands that can wait for their data inside a master."""
        return self.outstanding + 2

    @property
    def suffix(self) -> str:
        """What tells module names of different sizes apart."""
        return "_".join(map(str, astuple(self)))


def write_command(bus: Bus) -> dict[str, int]:
    """Fields of a command to a `WriteMaster` and their widths.

    address: of the first granule.
    length: granules, less one.
    tag: comes back when the command is done.
    """
    return {
        "address": bus.granule_address_bits,
        "length": bus.length_bits,
        "tag": bus.tag_bits,
    }


def read_command(bus: Bus) -> dict[str, int]:
    """Fields of a command to a `ReadMaster` and their widths.

    address: of the first granule.
    length: granules, less one.
    tag: goes with every word of the command.
    zero: the granules are zeros, and memory is not read.
    """
    return {**write_command(bus), "zero": 1}


def read_word(bus: Bus) -> dict[str, int]:
    """Fields of a word from a `ReadMaster` and their widths.

    data: granule 0 in the low bits; granules that the command does not have are 0.
    granules: granules of the word that the command has, less one.
    last: it is the command's last word.
    tag: that of the command.
    """
    return {"data": bus.data_bits, "granules": bus.lane_bits, "last": 1, "tag": bus.tag_bits}


@dataclass(frozen=True, kw_only=True)
class Command:
    """One run of bytes to read or to write.

    Attributes:
        address: of the first byte.
        length_bytes: how many.
        tag: any number that fits.
        zero: reads only: the bytes are zeros, and memory is not read.
    """

    address: int
    length_bytes: int
    tag: int = 0
    zero: bool = False

    def encode_read(self, bus: Bus) -> int:
        """The word for a `ReadMaster`.

        Raises:
            InputError: a value does not fit, or is no multiple of a granule.
        """
        return pack(read_command(bus), {**self._values(bus), "zero": int(self.zero)})

    def encode_write(self, bus: Bus) -> int:
        """The word for a `WriteMaster`.

        Raises:
            InputError: a value does not fit, is no multiple of a granule, or `zero` is set.
        """
        if self.zero:
            raise InputError("zero of a command must be false to write, not true")
        return pack(write_command(bus), self._values(bus))

    def _values(self, bus: Bus) -> dict[str, int]:
        for name in ("address", "length_bytes"):
            value = getattr(self, name)
            if value % bus.granule_bytes:
                raise InputError(
                    f"{name} of a command must be a multiple of {bus.granule_bytes}, not {value}"
                )
        return {
            "address": self.address // bus.granule_bytes,
            "length": self.length_bytes // bus.granule_bytes - 1,
            "tag": self.tag,
        }
