"""The command line: `mensa` and its subcommands."""
