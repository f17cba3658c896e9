"""How it is arranged: the accelerator, training products, mappings, the offline schedule."""
