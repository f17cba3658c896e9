"""Training small networks by N:M methods, on data that is at hand without a network connection."""
