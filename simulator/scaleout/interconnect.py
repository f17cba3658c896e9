"""What joins accelerators: links, groups with links of their own, how received values are added.

An `Interconnect` is read from TOML, validated and immutable, like an `Accelerator`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from nofm.dataflow import description, toml_text
from nofm.dataflow.description import Table
from nofm.kernels.errors import unknown

Gigabits = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False, strict=True)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, strict=True)]
Microseconds = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False, strict=True)]


class Link(Table):
    """A board's link, which sends and receives at once.

    Attributes:
        gigabits: 10^9 bits a second, in each direction.
        payload: share of these that is the message's own; headers and gaps are the rest.
        latency_us: of a message without content, from a board that has it to one that can use it.
    """

    gigabits: Gigabits
    payload: Share
    latency_us: Microseconds

    @property
    def bytes_per_second(self) -> float:
        """Bytes of a message that pass in a second, in each direction."""
        return self.gigabits * self.payload * 1e9 / 8


class Group(Link):
    """Boards with links of their own among each other, such as those of one host.

    Attributes:
        size: boards of a group; board i is in group i // size.
        oversubscription: what leaves a group while all of its boards send is so many times slower
            than one board's sending: the number of boards that share one link of the interconnect,
            or what a switch above the group lacks.
        gigabits, payload, latency_us: of the links inside.
    """

    size: Annotated[int, Field(ge=2, le=1 << 20, strict=True)]
    oversubscription: Annotated[float, Field(ge=1, le=1e6, allow_inf_nan=False, strict=True)]

    @model_validator(mode="after")
    def _check_oversubscription(self) -> Group:
        if self.oversubscription > self.size:
            raise ValueError(
                f"oversubscription must be at most size = {self.size}, so that one board alone has "
                f"its whole link, not {self.oversubscription:g}"
            )
        return self


class Interconnect(Table):
    """What joins the boards that train one network.

    Attributes:
        name: for people.
        sources: where the figures come from.
        reduction: how a board adds what it receives to what it has. "streamed": as it arrives, at
            the pace of the link or of DRAM, which is read and written once for each value.
            "stored": what has arrived is in DRAM, is read again and added when the message is
            complete.
        link: between boards of different groups; between all where there are no groups. The
            switches behind it have the full bandwidth for any pairs of boards.
        group: the boards that are closer to each other, if any are.
    """

    name: Annotated[str, Field(min_length=1, max_length=100)]
    sources: tuple[str, ...] = ()
    reduction: Literal["streamed", "stored"]
    link: Link
    group: Group | None = None

    def with_values(self, **values: Any) -> Interconnect:
        """A copy with some entries replaced by dotted name, checked like a file.

        >>> load("roce-100g").with_values(**{"link.latency_us": 1.0}).link.latency_us
        1.0
        """
        document = description.replaced(self.to_document(), values, "interconnect entry")
        return from_document(document, f"interconnect {self.name!r}")

    def to_document(self) -> dict[str, Any]:
        """The description as nested dicts of plain values; `from_document` reads it back."""
        return self.model_dump(mode="json", exclude_none=True)

    def to_toml(self) -> str:
        """The description as TOML; `from_toml` reads it back."""
        return description.toml(self.to_document())


def from_document(document: dict[str, Any], source: str) -> Interconnect:
    """Check a description given as nested dicts.

    Raises:
        InputError: with the first entry that is wrong, named by its dotted path and `source`.
    """
    return description.checked(Interconnect, document, source, _reference)


def from_toml(text: str, source: str) -> Interconnect:
    """Read a description from TOML text.

    Raises:
        InputError: malformed TOML, or an entry that is unknown, missing or out of range.
    """
    return from_document(toml_text.read(text, source), source)


@cache
def _preset_files() -> dict[str, Any]:
    return toml_text.preset_files("nofm.simulator.scaleout")


def presets() -> list[str]:
    """Names of the interconnects that come with NofM."""
    return list(_preset_files())


@cache
def _preset(name: str) -> Interconnect:
    return from_toml(_preset_files()[name].read_text("utf-8"), f"preset {name!r}")


def _reference() -> dict[str, Any]:
    return _preset("pcie4-hosts").to_document()


def load(interconnect: str | Path | Interconnect) -> Interconnect:
    """An interconnect by preset name or TOML file.

    Raises:
        InputError: no such preset or file, or the file is malformed.
    """
    if isinstance(interconnect, Interconnect):
        return interconnect
    if isinstance(interconnect, str) and interconnect in _preset_files():
        return _preset(interconnect)
    path = Path(interconnect)
    if path.suffix != ".toml":
        raise unknown("interconnect", str(interconnect), presets())
    return from_toml(description.file_text(path, "an interconnect's file"), str(path))
