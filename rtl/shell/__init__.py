"""What surrounds the compute unit: control, programs, loads, stores and faults."""
