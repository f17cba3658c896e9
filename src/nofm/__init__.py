"""NofM: co-design of N:M sparse training accelerators."""
