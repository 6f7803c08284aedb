"""From what a user has (annotations, tables, folders, tars; local or remote) to one record a video: ``read.py``."""
