"""WUVE, the optimizer engine: SGD with momentum and weight decay, one parameter a lane and cycle."""
