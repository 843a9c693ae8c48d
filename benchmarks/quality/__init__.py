"""Programs that measure how good fits, networks, codecs and autoencoders are, and the report of all results."""
