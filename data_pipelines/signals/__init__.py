"""Signals of videos and of questions on them: one pure scorer a file. Thresholds are policy, and not here."""
