"""Bookshelf beside the same endpoints written the tutorial way. README.md says how to read it."""
