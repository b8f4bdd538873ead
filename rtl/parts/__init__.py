"""What gateware everywhere is made of: registers, loops, and how units are driven."""
