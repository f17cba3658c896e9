"""Banks: a buffer from which all lanes read in lockstep, each at an address of its own."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from nofm.kernels.errors import InputError
from nofm.rtl.axi.turn import less, turned
from nofm.rtl.chip.later import later
from nofm.rtl.chip.room_queue import RoomQueue
from nofm.rtl.hierarchy import Unit, place

REQUESTS = 12
"""Requests that wait for their banks before a buffer wants no more: enough for the cycles that the
next ones need to come when it wants some again."""

Pairs = list[list[Signal]]


def _log2(value: int) -> int:
    return value.bit_length() - 1


@dataclass(frozen=True)
class BufferSizes:
    """Sizes of a buffer.

    An element at address e is in word k = e // `word` at place e mod `word`; with
    low = k mod `banks` and high = k // `banks`, the word is number high of bank
    (low + skew x high) mod `banks`.

    Attributes:
        lanes: that read in lockstep.
        word: elements of a word, a power of two.
        element_bits: width of an element.
        banks: a power of two, at least two and `piece` / `word`.
        depth: words of a bank, at least two.
        piece: elements that are written at once, a power of two.

    Raises:
        InputError: the words of a piece would not lie in different banks.
    """

    lanes: int
    word: int
    element_bits: int
    banks: int
    depth: int
    piece: int

    def __post_init__(self) -> None:
        least = max(2, self.piece // self.word)
        if self.banks < least:
            raise InputError(
                f"banks of a buffer must be {least} or more for pieces of {self.piece} elements in "
                f"words of {self.word}, not {self.banks}"
            )

    @property
    def word_bits(self) -> int:
        """Width of a word."""
        return self.word * self.element_bits

    @property
    def bank_bits(self) -> int:
        """Bits of a bank's number."""
        return _log2(self.banks)

    @property
    def high_bits(self) -> int:
        """Bits of a word's number in its bank."""
        return (self.depth - 1).bit_length()

    @property
    def number_bits(self) -> int:
        """Bits of a word's number in the buffer."""
        return self.bank_bits + self.high_bits

    @property
    def at_bits(self) -> int:
        """Bits of an element's address."""
        return _log2(self.word) + self.number_bits

    @property
    def spread_bits(self) -> int:
        """Bits that number the words of a group."""
        return _log2(self.group // self.word)

    @property
    def group(self) -> int:
        """Elements of the words that a piece lies in: it crosses no multiple of this."""
        return max(self.word, self.piece)

    @property
    def suffix(self) -> str:
        """What tells module names of different sizes apart."""
        return "_".join(map(str, astuple(self)))

    def shift(self, high: Value, skew: Value) -> Value:
        """How many banks further a word is for the skew."""
        return Mux(skew, high[: self.bank_bits], 0)


class Buffer(Unit):
    """A banked memory with a write port for pieces and a read port for requests.

    A request asks for a word for each of some lanes. In one cycle each bank gives one word, to all
    lanes that want it; a request whose lanes want several words of one bank takes as many cycles as
    it wants of the bank that it wants most of. Requests are served one after the other, without a
    cycle in between. All the words of a lane come in the order of its requests.

    | port | width | direction | |
    |---|---|---|---|
    | write_valid | 1 | in | a piece comes; it is always taken |
    | write_at | `at_bits` | in | address of its first element |
    | write_count | bits of `piece` | in | its elements, less one |
    | write_data | piece x element | in | they, the first lowest |
    | write_skew | 1 | in | how banks are numbered |
    | room | 1 | out | a request may come: `ahead` more may after it fell |
    | request_valid | 1 | in | a request comes |
    | request_skew | 1 | in | how banks are numbered |
    | request_tag | `tag_bits` | in | goes with all that the request gives |
    | request_gives | lanes | in | lanes that get something |
    | request_reads | lanes | in | those of them that read; the others get any word at all |
    | request_words | lanes x `number_bits` | in | number of the word: an address without the \
element's place in it |
    | request_with | lanes x `lane_bits` | in | goes with each lane's word; not there without bits |
    | given_last | 1 | out | this is the last that a request gives |
    | given_tag | `tag_bits` | out | the request's tag |
    | given_lanes | lanes | out | lanes that get a word in this cycle |
    | given_words | lanes x word | out | their words |
    | given_with | lanes x `lane_bits` | out | what came with them |
    | conflict | 1 | out | a request takes a further cycle |

    Latency: a request that comes in cycle t gives its first words in cycle t + `latency`. A piece
    is there for requests that come in the same cycle or later.
    """

    stages = 4
    """Cycles from a request's coming to its waiting for banks."""

    behind = 5
    """Cycles from banks being asked to their words coming out."""

    latency = stages + 1 + behind
    """Cycles from a request to its first words."""

    def __init__(self, sizes: BufferSizes, tag_bits: int, lane_bits: int, ahead: int) -> None:
        self.sizes = s = sizes
        self.tag_bits = tag_bits
        self.lane_bits = lane_bits
        self.ahead = ahead
        self.module_name = f"nofm_chip_buffer_{s.suffix}_{tag_bits}_{lane_bits}_{ahead}"
        super().__init__(
            {
                "write_valid": In(1),
                "write_at": In(s.at_bits),
                "write_count": In(_log2(s.piece)),
                "write_data": In(s.piece * s.element_bits),
                "write_skew": In(1),
                "room": Out(1),
                "request_valid": In(1),
                "request_skew": In(1),
                "request_tag": In(tag_bits),
                "request_gives": In(s.lanes),
                "request_reads": In(s.lanes),
                "request_words": In(s.lanes * s.number_bits),
                **({"request_with": In(s.lanes * lane_bits)} if lane_bits else {}),
                "given_last": Out(1),
                "given_tag": Out(tag_bits),
                "given_lanes": Out(s.lanes),
                "given_words": Out(s.lanes * s.word_bits),
                **({"given_with": Out(s.lanes * lane_bits)} if lane_bits else {}),
                "conflict": Out(1),
            }
        )

    @property
    def capacity(self) -> int:
        """Requests that can be inside at once."""
        return REQUESTS + self._spare + 1 + self.behind

    @property
    def _spare(self) -> int:
        return self.ahead + self.stages

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        s = self.sizes
        banks = [Bank(s) for _ in range(s.banks)]
        for number, bank in enumerate(banks):
            place(m, platform, f"bank_{number}", bank)
            m.d.comb += bank.number.eq(number)
        self._write(m, banks)
        self._read(m, platform, banks)
        return m

    def _write(self, m: Module, banks: list[Bank]) -> None:
        """Turn a piece to its places in the group of words that it lies in."""
        s = self.sizes
        places = _log2(s.group)
        first, end = Signal(places), Signal(places)
        left = Signal(_log2(s.piece))
        m.d.comb += [
            first.eq(self.write_at),
            end.eq(first + self.write_count),
            left.eq(-first),
        ]
        data = turned(m, "turned", self.write_data, left, s.element_bits)
        number = self.write_at[_log2(s.word) :]
        low, high = number[s.spread_bits : s.bank_bits], number[s.bank_bits :]
        group = Signal(s.group * s.element_bits, reset_less=True)
        enable = Signal(s.group)
        word = Signal(s.high_bits, reset_less=True)
        shift = Signal(s.bank_bits, reset_less=True)
        begun = less(m, "begun", first, s.group)
        over = less(m, "over", end, s.group)
        used = [self.write_valid & begun[k + 1] & ~over[k] for k in range(s.group)]
        m.d.sync += [
            group.eq(data.replicate(s.group // s.piece)),
            enable.eq(Cat(used)),
            word.eq(high),
            shift.eq(s.shift(high, self.write_skew)),
        ]
        bank = later(m, "write_bank", low, 1)
        for each in banks:
            if len(bank):
                m.d.comb += each.write_bank.eq(bank)
            m.d.comb += [
                each.write_group.eq(group),
                each.write_enable.eq(enable),
                each.write_shift.eq(shift),
                each.write_high.eq(word),
            ]

    def _read(self, m: Module, platform: Any, banks: list[Bank]) -> None:
        s = self.sizes
        lanes = range(s.lanes)
        asked = self._asked(m)
        words = [Cat(asked["bank"][lane], asked["high"][lane]) for lane in lanes]
        blocks = self._blocks(m, words, asked["bank"], asked["reads"])

        # A request waits: all that its rounds need.
        fields = [
            Cat(later(m, "kept_tag", asked["tag"], 3), later(m, "kept_gives", asked["gives"], 3)),
            later(m, "kept_words", Cat(words), 3),
            later(m, "kept_with", asked["with"], 3),
        ]
        reads = later(m, "kept_reads", asked["reads"], 2)
        held = self._held(m, "first_held", blocks, reads)
        kept_blocks = later(m, "kept_blocks", Cat(Cat(row) for row in blocks), 1)
        kept_reads = Signal(s.lanes, reset_less=True)
        kept_held, kept_more = Signal(s.lanes, reset_less=True), Signal(reset_less=True)
        m.d.sync += [
            kept_reads.eq(reads),
            kept_held.eq(held),
            kept_more.eq(held.any()),
        ]
        coming = Cat(*fields, kept_blocks, kept_reads, kept_held, kept_more)
        queue = RoomQueue(len(coming), REQUESTS, self._spare)
        place(m, platform, "requests", queue)
        m.d.comb += [
            queue.in_valid.eq(later(m, "comes", asked["valid"], 3, keep=True)),
            queue.in_data.eq(coming),
            self.room.eq(queue.room),
        ]
        self._rounds(m, platform, queue, banks)

    def _asked(self, m: Module) -> dict[str, Any]:
        """The request that came, each lane's bank and word in it."""
        s = self.sizes
        bank = [Signal(s.bank_bits, name=f"bank_{k}", reset_less=True) for k in range(s.lanes)]
        high = [Signal(s.high_bits, name=f"high_{k}", reset_less=True) for k in range(s.lanes)]
        for lane in range(s.lanes):
            number = self.request_words.word_select(lane, s.number_bits)
            low, word = number[: s.bank_bits], number[s.bank_bits :]
            m.d.sync += [
                bank[lane].eq(low + s.shift(word, self.request_skew)),
                high[lane].eq(word),
            ]
        return {
            "valid": later(m, "asked_valid", self.request_valid, 1, keep=True),
            "tag": later(m, "asked_tag", self.request_tag, 1),
            "gives": later(m, "asked_gives", self.request_gives, 1),
            "reads": later(m, "asked_reads", self.request_reads, 1),
            "with": later(m, "asked_with", self.request_with if self.lane_bits else Const(0, 0), 1),
            "bank": bank,
            "high": high,
        }

    def _blocks(self, m: Module, words: list[Value], bank: list[Signal], reads: Value) -> Pairs:
        """For each lane, of the lanes before it: whether that one comes first, for it wants another
        word of the same bank, and no lane before that one wants this lane's word."""
        blocks: Pairs = []
        for lane in range(self.sizes.lanes):
            same: list[Value] = []
            row = []
            for other in range(lane):
                both = reads[lane] & reads[other]
                differ = Signal(name=f"differs_{lane}_{other}")
                blocked = Signal(name=f"blocks_{lane}_{other}")
                m.d.sync += [
                    differ.eq(both & (bank[lane] == bank[other]) & (words[lane] != words[other])),
                    blocked.eq(differ & ~Cat(same).any()),
                ]
                row.append(blocked)
                if other + 1 < lane:
                    alike = Signal(name=f"alike_{lane}_{other}")
                    m.d.sync += alike.eq(both & (words[lane] == words[other]))
                    same.append(alike)
            blocks.append(row)
        return blocks

    def _held(self, m: Module, name: str, blocks: Any, pending: Value) -> Signal:
        """Lanes that wait for another round."""
        held = Signal(self.sizes.lanes, name=name)
        for lane in range(self.sizes.lanes):
            before = [blocks[lane][other] & pending[other] for other in range(lane)]
            m.d.comb += held[lane].eq(pending[lane] & Cat(before).any())
        return held

    def _rounds(self, m: Module, platform: Any, queue: RoomQueue, banks: list[Bank]) -> None:
        """Serve the request that waits longest; what it leaves is served next."""
        s = self.sizes
        lanes = range(s.lanes)
        tag, gives = Signal(self.tag_bits), Signal(s.lanes)
        words = [Signal(s.number_bits, name=f"word_{lane}") for lane in lanes]
        kept = [Signal(s.lanes * self.lane_bits)] if self.lane_bits else []
        blocks = [[Signal(name=f"waits_{k}_{j}") for j in range(k)] for k in lanes]
        reads, first_held, first_more = Signal(s.lanes), Signal(s.lanes), Signal()
        fields = [tag, gives, *words, *kept, *(bit for row in blocks for bit in row)]
        m.d.comb += Cat(*fields, reads, first_held, first_more).eq(queue.out_data)

        again, left = Signal(), Signal(s.lanes)
        held, more = Signal(s.lanes), Signal()
        later_held = self._held(m, "later_held", blocks, left)
        served, given = Signal(s.lanes), Signal(s.lanes)
        m.d.comb += [
            held.eq(Mux(again, later_held, first_held)),
            more.eq(Mux(again, later_held.any(), first_more)),
            served.eq(Mux(again, left, reads) & ~held),
            given.eq(Mux(again, served, gives & ~held)),
            queue.out_ready.eq(~more),
        ]
        with m.If(queue.out_valid):
            m.d.sync += [again.eq(more), left.eq(held)]

        # A round, on its way through the banks.
        valid = queue.out_valid
        m.d.sync += self.conflict.eq(valid & more)
        ends = later(m, "round_ends", valid & ~more, self.behind, keep=True)
        gets = later(m, "round_gives", Mux(valid, given, 0), self.behind, keep=True)
        asks = later(m, "round_asks", Mux(valid, served, 0), 1, keep=True)
        asked = [later(m, f"round_word_{lane}", words[lane], 1) for lane in lanes]
        for each in banks:
            m.d.comb += each.asks.eq(asks)
            m.d.comb += each.words.eq(Cat(asked))
        data = Cat(each.data for each in banks)
        for lane in lanes:
            pick = Pick(s)
            place(m, platform, f"pick_{lane}", pick)
            bank = later(m, f"round_bank_{lane}", asked[lane][: s.bank_bits], self.behind - 2)
            m.d.comb += [
                pick.data.eq(data),
                pick.bank.eq(bank),
                self.given_words.word_select(lane, s.word_bits).eq(pick.word),
            ]
        m.d.comb += [
            self.given_last.eq(ends),
            self.given_lanes.eq(gets),
            self.given_tag.eq(later(m, "round_tag", tag, self.behind)),
        ]
        for each_with in kept:
            m.d.comb += self.given_with.eq(later(m, "round_with", each_with, self.behind))


class Bank(Unit):
    """One bank: its memory, its part of every piece, and the word that lanes want of it.

    | port | width | direction | |
    |---|---|---|---|
    | number | `bank_bits` | in | of the bank |
    | write_group, write_enable | group x element, group | in | words that are written, and which \
elements of them |
    | write_bank | `bank_bits` less `spread_bits` | in | upper bits of their unskewed banks; not \
there without bits |
    | write_shift | `bank_bits` | in | how many banks further the skew moves them |
    | write_high | `high_bits` | in | their number in their banks |
    | asks | lanes | in | lanes that are served: those of one bank want the same word of it |
    | words | lanes x `number_bits` | in | bank and number of each lane's word |
    | data | word | out | the word, three cycles later |

    What is written in cycle t can be asked for from cycle t + 1 on.
    """

    def __init__(self, sizes: BufferSizes) -> None:
        self.sizes = s = sizes
        self.module_name = f"nofm_chip_bank_{s.suffix}"
        self._upper_bits = s.bank_bits - s.spread_bits
        super().__init__(
            {
                "number": In(s.bank_bits),
                "write_group": In(s.group * s.element_bits),
                "write_enable": In(s.group),
                **({"write_bank": In(self._upper_bits)} if self._upper_bits else {}),
                "write_shift": In(s.bank_bits),
                "write_high": In(s.high_bits),
                "asks": In(s.lanes),
                "words": In(s.lanes * s.number_bits),
                "data": Out(s.word_bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        s = self.sizes
        m.submodules.memory = memory = Memory(shape=s.word_bits, depth=s.depth, init=[])
        write = memory.write_port(granularity=s.element_bits)
        read = memory.read_port()

        # Which of the group's words is this bank's, if any.
        bits = s.spread_bits
        own = Signal(s.bank_bits)
        hit = Signal()
        m.d.comb += [
            own.eq(self.number - self.write_shift),
            hit.eq(own[bits:] == self.write_bank if self._upper_bits else 1),
        ]
        word, enable = (
            Array(value[k * size : (k + 1) * size] for k in range(1 << bits))[own[:bits]]
            if bits
            else value
            for value, size in (
                (self.write_group, s.word_bits),
                (self.write_enable, s.word),
            )
        )
        m.d.sync += [
            write.addr.eq(self.write_high),
            write.data.eq(word),
            write.en.eq(Mux(hit, enable, 0)),
        ]

        high = Signal(s.high_bits)
        asked = Signal(s.lanes)
        bits = s.number_bits
        each = [self.words[k * bits : (k + 1) * bits] for k in range(s.lanes)]
        m.d.comb += [
            asked.eq(
                Cat(
                    ask & (word[: s.bank_bits] == self.number)
                    for ask, word in zip(self.asks, each, strict=True)
                )
            ),
            # Lanes of one bank want the same word of it.
            high.eq(_any(Mux(asked[k], word[s.bank_bits :], 0) for k, word in enumerate(each))),
        ]
        found = Signal(s.word_bits, reset_less=True)
        m.d.sync += [read.addr.eq(high), read.en.eq(asked.any()), found.eq(read.data)]
        m.d.comb += self.data.eq(found)
        return m


class Pick(Unit):
    """The word of one of all banks, in the next cycle.

    | port | width | direction | |
    |---|---|---|---|
    | data | banks x word | in | of all banks |
    | bank | `bank_bits` | in | which one |
    | word | word | out | its word |
    """

    def __init__(self, sizes: BufferSizes) -> None:
        self.sizes = s = sizes
        self.module_name = f"nofm_chip_pick_{s.banks}_{s.word_bits}"
        super().__init__(
            {
                "data": In(s.banks * s.word_bits),
                "bank": In(s.bank_bits),
                "word": Out(s.word_bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        s = self.sizes
        words = [self.data[k * s.word_bits : (k + 1) * s.word_bits] for k in range(s.banks)]
        m.d.sync += self.word.eq(Array(words)[self.bank])
        return m


def _any(values: Any) -> Value:
    """All values, or-ed."""
    found = None
    for value in values:
        found = value if found is None else found | value
    assert found is not None
    return found
