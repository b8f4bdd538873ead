"""The LSTM cell: int16 sigmoid and hyperbolic tangent, and what is done with the gates."""
