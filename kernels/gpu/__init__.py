"""N:M products, pruning and updates on GPUs: Triton kernels, and torch's own 2:4."""
