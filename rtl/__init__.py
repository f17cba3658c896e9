"""What computes it: generators of the accelerator's engines as synthesizable RTL."""
