"""The simulated SoC: engines, Verilator, memory, counters."""
