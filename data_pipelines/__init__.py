"""From raw videos and annotations to shards: read records, inspect every video, decide, write."""
