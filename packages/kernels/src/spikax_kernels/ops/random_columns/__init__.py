"""The operator ``random_columns``; see ``op.py``."""
