"""What can go wrong in `mensa synth`."""

__all__ = ["SynthesisError", "SynthesisToolError"]


class SynthesisError(ValueError):
    """A machine that can't be synthesised for a target; the message says which number and why."""


class SynthesisToolError(RuntimeError):
    """A tool gave up or ran out of time; the message says which, while it did what."""
