"""The subcommands of `mensa`, a file each.

What a command needs is imported when it runs, so that --help comes at once.
"""
