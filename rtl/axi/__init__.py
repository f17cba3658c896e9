"""The bus side of a chip: AXI4 masters that read and write memory, AXI4-Lite registers."""
