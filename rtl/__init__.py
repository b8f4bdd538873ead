"""The accelerators: configurations, commands, Amaranth gateware."""
