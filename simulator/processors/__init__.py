"""Real processors: how long they take for dense and N:M products, predicted from a description."""
