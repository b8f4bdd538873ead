"""The compute unit: operands, loop nests, and what becomes of a command."""
