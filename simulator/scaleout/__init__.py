"""Data-parallel training on many accelerators: what a step costs when its gradients are shared."""
