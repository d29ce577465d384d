"""Drills that break the database of running servers, and count what their clients lose.

`make ha` runs one in which this program promotes the standby, and `make ha HA_ARGS=--patroni` one
in which Patroni does. They take two and three minutes, so they are not part of the tests.
"""
