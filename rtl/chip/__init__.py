"""The chip around the engines: memories, movers, control."""
