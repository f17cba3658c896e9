"""A chip's programs, cycle by cycle.

What moves is counted, not computed: queues have levels, runs have addresses, and nothing has
values. Each part stands for the unit of the same name of `nofm.rtl.chip` and `nofm.rtl.axi`,
register by register, so cycles are the hardware's and no constant is fitted. In every cycle parts
are stepped from memory's end of a stream to its beginning: what one leaves in a queue is seen by
the next one in the next cycle, as through a register.

The array with its feeders is one part, whose jobs come with the cycles that the array takes for
them (`nofm.simulator.timing`) and that it waits for activations (`feeding`).
"""
