"""The output-stationary systolic array in the manner of the Edge TPU."""
