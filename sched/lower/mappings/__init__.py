"""How layers map onto arrays: what a command computes, and which mapping is the quickest."""
