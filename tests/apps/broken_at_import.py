"""Raises while it is imported."""

raise RuntimeError("the import itself failed")
