"""From sums to bytes: requantisation, and reductions that need no weights."""
