"""The compute-centric array of Pascal: sums stay, operands are multicast along rows and columns."""
