"""Programs that measure, to be run as modules from the root of the repository, and what they found."""
