"""What runs where: lowering, reports and the command line."""
