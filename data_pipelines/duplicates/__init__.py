"""Duplicates of a corpus: the same bytes, packets, frames or content."""

from data_pipelines.duplicates.find import find_duplicates
from data_pipelines.duplicates.settings import DuplicateSettings

__all__ = ["DuplicateSettings", "find_duplicates"]
