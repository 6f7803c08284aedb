"""recot: reconstructive token compression for very long video (arXiv 2503.18478).

Importing the package imports nothing heavy: child processes that only decode video start fast.
"""

__version__ = "0.1.0"
