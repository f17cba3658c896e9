// Drives sets of operands through a unit and collects its results, one set a cycle.
//
// Sets come on standard input as packed records, results leave on standard output likewise.
// Arguments: the number of sets, how many of 65,536 cycles are frozen, and a seed.
// ports.h describes the unit: INPUTS(X) with name, type and mask; OUTPUTS(X) with name, type and
// latency; LONGEST, the longest latency; CLOCKED and FREEZES, whether it has `clk` and `advance`.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "Unit.h"
#include "ports.h"

#pragma pack(push, 1)
struct Set {
#define FIELD(name, type, mask) type name;
    INPUTS(FIELD)
#undef FIELD
};
struct Result {
#define FIELD(name, type, latency) type name;
    OUTPUTS(FIELD)
#undef FIELD
};
#pragma pack(pop)

static uint64_t state;

static uint64_t noise() {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 0x2545F4914F6CDD1Dull;
}

static void tick(Unit& unit) {
#if CLOCKED
    unit.clk = 1;
    unit.eval();
    unit.clk = 0;
#endif
    unit.eval();
}

#if FREEZES
// A cycle in which nothing may change; whether nothing did.
static bool freeze(Unit& unit) {
#define DRIVE(name, type, mask) unit.name = static_cast<type>(noise() >> 3 & mask);
#define REMEMBER(name, type, latency) const type was_##name = unit.name;
#define COMPARE(name, type, latency) if (latency && unit.name != was_##name) return false;
    OUTPUTS(REMEMBER)
    INPUTS(DRIVE)
    unit.advance = 0;
    tick(unit);
    unit.advance = 1;
    OUTPUTS(COMPARE)
#undef DRIVE
#undef REMEMBER
#undef COMPARE
    return true;
}
#endif

int main(int, char** argv) {
    const uint64_t count = strtoull(argv[1], nullptr, 10);
    const uint64_t frozen = strtoull(argv[2], nullptr, 10);
    state = strtoull(argv[3], nullptr, 10) * 0x9E3779B97F4A7C15ull | 1;
    std::vector<Set> sets(count);
    std::vector<Result> results(count);
    if (fread(sets.data(), sizeof(Set), count, stdin) != count) {
        fputs("fewer sets than announced\n", stderr);
        return 1;
    }

    Unit unit;
#if FREEZES
    unit.advance = 1;
#endif
    // The first evaluation sees no clock edge.
    unit.eval();
    for (uint64_t edge = 0; edge < count + LONGEST; ++edge) {
#if FREEZES
        while ((noise() >> 48) < frozen) {
            // Before the first result a register holds nothing that was ever put there.
            if (!freeze(unit) && edge >= LONGEST) {
                fprintf(stderr, "an output changed while frozen, before set %llu\n",
                        static_cast<unsigned long long>(edge));
                return 1;
            }
        }
#endif
        if (edge < count) {
#define DRIVE(name, type, mask) unit.name = sets[edge].name;
            INPUTS(DRIVE)
#undef DRIVE
        }
        tick(unit);
        // A result with latency 1 stands at the output right behind its operands' clock edge.
#define COLLECT(name, type, latency)                                  \
    {                                                                 \
        const uint64_t behind = latency ? latency - 1 : 0;            \
        if (edge >= behind && edge - behind < count)                  \
            results[edge - behind].name = unit.name;                  \
    }
        OUTPUTS(COLLECT)
#undef COLLECT
    }
    fwrite(results.data(), sizeof(Result), count, stdout);
    return 0;
}
