"""Can the tiny world's questions be answered without watching? Classifiers that try, and what chance would give."""
