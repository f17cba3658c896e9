"""WUVE, the optimizer engine: SGD with momentum, one parameter a lane and cycle."""
