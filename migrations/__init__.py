"""The schema's history: env.py runs the revisions, new_revisions.py shapes those to be written."""
