"""The data-centric array of Jacquard: parameters stay, sums are reduced in space."""
