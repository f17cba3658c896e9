"""STCE, the systolic array of USPEs that computes dense and N:M products."""
