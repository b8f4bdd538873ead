"""The softmax unit."""
