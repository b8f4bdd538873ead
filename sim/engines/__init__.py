"""What runs programs: in RTL, as functions without time, and as time without values."""
