"""Programs of the chip: what the offline schedule compiles to, and what it means, word for word."""
