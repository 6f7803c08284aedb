"""Planted junk: videos and texts that a pruning pipeline should find, each with a label that says what it is."""
