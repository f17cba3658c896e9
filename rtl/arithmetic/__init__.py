"""Floating-point arithmetic as pipelined units, and the combinational logic that they share."""
