"""``report.html``: what pruning did and why, for people; one file that opens offline. ``render.py`` is the way in."""
