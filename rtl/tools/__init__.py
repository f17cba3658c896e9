"""The tools that simulate, check and synthesize Verilog: how they are found and run."""
