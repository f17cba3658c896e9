"""SORE, the top-N pruner: streaming sorters that turn dense matrices into N:M ones."""
