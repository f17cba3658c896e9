"""What to build: design spaces, sweeps over them, and what they find."""
