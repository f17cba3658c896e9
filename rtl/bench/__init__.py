"""The bench that runs inside a Verilog simulator: streams, an engine's skeleton, and case files.

These files import cocotb and NumPy only, and each other by relative imports. So the folder works
the same when it is copied, under any name, beside emitted Verilog on a machine without NofM.
"""
