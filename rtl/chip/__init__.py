"""The units of the chip around its engines: what feeds the array, and where its operands wait."""
