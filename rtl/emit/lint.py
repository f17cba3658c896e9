"""Warnings of Verilator that mean nothing in emitted Verilog: what is waived, and why."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

CONTROL_FILE = "lint.vlt"

# A result without a name has a number of up to five digits.
_NUMBERED = tuple("'$" + "?" * digits + "'" for digits in range(1, 6))
_OPERATORS = ("ADD", "SUB", "EQ", "LT", "LTS", "LTE", "GT", "GTES")


@dataclass(frozen=True)
class Waiver:
    """A warning that means nothing where its file and its message match.

    Attributes:
        rule: its name.
        what: what it is about.
        reason: why that is right.
        messages: any of these, or any at all if there are none. `*` stands for any characters, `?`
            for one.
        modules: names of the modules whose files they are waived in, likewise.
    """

    rule: str
    what: str
    reason: str
    messages: tuple[str, ...] = ()
    modules: tuple[str, ...] = ("nofm_*",)

    def lines(self) -> Iterator[str]:
        """The lines of a control file that waive it."""
        for module in self.modules:
            start = f'lint_off -rule {self.rule} -file "*{module}.v"'
            if not self.messages:
                yield start
            for message in self.messages:
                yield f'{start} -match "{message}"'


WAIVERS = (
    Waiver(
        "PROCASSINIT",
        "A register that has an initial value and is assigned.",
        "FPGAs start with that value, and a reset returns to it.",
    ),
    Waiver(
        "CASEINCOMPLETE",
        "A case that leaves values out.",
        "What holds for them is assigned before the case.",
    ),
    Waiver(
        "WIDTHEXPAND",
        "Operands of an addition, a subtraction or a comparison that differ in width.",
        "Verilog extends the shorter one as Amaranth does.",
        tuple(f"Operator {operator} expects *" for operator in _OPERATORS),
    ),
    Waiver(
        "WIDTHTRUNC",
        "The logical negation of a number.",
        "Yosys writes a comparison with 0 so.",
        ("Logical operator LOGNOT expects *",),
    ),
    Waiver(
        "WIDTHTRUNC",
        "A group, shifted, that becomes one activation.",
        "Amaranth selects one of many words so, and what lies above it is cut off.",
        ("Operator ASSIGNW expects 17 bits on the Assign RHS, but Assign RHS's SHIFTR *",),
        ("nofm_uspe",),
    ),
    Waiver(
        "UNUSEDSIGNAL",
        "Bits of a result that has no name.",
        "Amaranth computes results in full; what takes one takes the bits that it needs.",
        tuple(f"Bits of signal are not used: {number}*" for number in _NUMBERED),
    ),
    Waiver(
        "UNUSEDSIGNAL",
        "Outputs of a part that lead nowhere.",
        "All parts of a kind are one module, and not every place needs all that one says.",
        tuple(f"Signal is not used: {number}" for number in _NUMBERED),
        (
            *("nofm_stce", "nofm_stce_port_*", "nofm_wuve_*"),
            *("nofm_chip", "nofm_chip_datapath", "nofm_chip_load_*", "nofm_chip_store_*"),
            *("nofm_chip_unpack_*", "nofm_kept_blocks_*", "nofm_vector_*", "nofm_update_*"),
            *("nofm_prune_*", "nofm_stream_*", "nofm_read_share_*", "nofm_write_share_*"),
        ),
    ),
    Waiver(
        "UNUSEDSIGNAL",
        "The reset of arithmetic and of memories.",
        "All clocked modules have one; in a pipeline of numbers there is nothing to reset.",
        ("Signal is not used: 'rst'",),
        (
            *("nofm_adder_*", "nofm_half_multiplier_*", "nofm_multiplier_*", "nofm_narrow_*"),
            "nofm_chip_results_*",
        ),
    ),
    Waiver(
        "UNUSEDSIGNAL",
        "Fields of a job.",
        "Each part of an engine gets the whole word, and reads the fields that concern it.",
        ("Bits of signal are not used: 'job*",),
        (
            *("nofm_stce", "nofm_stce_slots", "nofm_stce_fetch", "nofm_stce_load"),
            *("nofm_stce_drain", "nofm_sore_sequencer_*", "nofm_sore_lanes_*"),
            *("nofm_update_parts_*", "nofm_form_rows_order_*", "nofm_form_columns_order_*"),
        ),
    ),
    Waiver(
        "UNUSEDSIGNAL",
        "The end of a beat.",
        "The port may be wider than the longest group.",
        ("Bits of signal are not used: 'beat'*",),
        ("nofm_stce_row_edge",),
    ),
    Waiver(
        "UNUSEDSIGNAL",
        "What a lane's state holds beside its result.",
        "Only lanes of the chain hand it on.",
        ("Bits of signal are not used: 'state$*",),
        ("nofm_sore_lanes_*",),
    ),
    Waiver(
        "UNUSEDSIGNAL",
        "What is said beside an address or a word: its size, and whether it is the last.",
        "Walkers and the bus say it to all; who knows what it asked for counts by itself.",
        (
            "Bits of signal are not used: 'pass_data'*",
            "Bits of signal are not used: 'in_data'*",
            "Bits of signal are not used: 'read_data'*",
        ),
        (
            *("nofm_chip_load_*", "nofm_chip_store_*", "nofm_chip_rows_*", "nofm_stream_read_*"),
            *("nofm_chip_fetcher_*", "nofm_chip_datapath"),
        ),
    ),
    Waiver(
        "UNUSEDSIGNAL",
        "Elements of a group that is turned.",
        "As many are turned as come or leave at most; those beyond a group's size are cut off.",
        ("Bits of signal are not used: 'group_*",),
        ("nofm_regroup_*",),
    ),
    Waiver(
        "UNUSEDSIGNAL",
        "The hidden bit of a number that is aligned for rounding.",
        "Whether it is there shows in the exponent.",
        ("Bits of signal are not used: 'subnormal_right_*",),
        ("nofm_multiplier_*", "nofm_narrow_*"),
    ),
)


def control_file() -> str:
    """The text of the file that Verilator is given beside the Verilog."""
    lines = ["`verilator_config"]
    for waiver in WAIVERS:
        said = textwrap.wrap(f"{waiver.what} {waiver.reason}", 97)
        lines += ["", *(f"// {line}" for line in said), *waiver.lines()]
    return "\n".join(lines) + "\n"
