"""The subcommands of `fastgs`, one file each: `declare` says which options there are, and a function runs it."""
