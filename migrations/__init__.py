"""The migrations of the database schema.

`env.py` runs the revisions in `versions/`. `new_revisions.py` and `safe_ddl.py` write new ones.
"""
