"""What it costs: timing, memory, energy, functional model, timeline, reports."""
