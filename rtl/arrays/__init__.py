"""The arrays, and what the machine around one knows of it."""
