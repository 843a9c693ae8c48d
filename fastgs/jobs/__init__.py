"""Jobs of many images that can be left alone: where images come from, what is done already, and shards of results."""
