"""Arithmetic on arrays that several operators share: fixed point, rounding, tables."""
