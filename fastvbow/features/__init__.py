"""From a photograph to local features, kept in memory-mapped shards."""
