"""The timing model: the exact cycle of everything in a program, without simulating it."""
