"""What is computed: layers, traces, capture from torch, networks, foreign formats."""
