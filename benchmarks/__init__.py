"""Compares the service with peers that implement the same endpoints.

`docs/benchmarks.md` explains what is measured and how.
"""
