"""Imported by the scripts of this folder: their own folder is in sys.path."""

WORD = b"neighbour"
