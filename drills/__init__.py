"""Drills that break the database of running servers, and count what their clients lose.

`make ha` runs them. They take about two minutes, so they are not part of the tests.
"""
