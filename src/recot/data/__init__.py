"""Shards, their deterministic order, and the batches made of them."""
