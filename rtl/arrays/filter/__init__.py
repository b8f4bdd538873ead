"""What arrays with MODE FILTER share: its stream of words, its loop nest, what they say of it."""
