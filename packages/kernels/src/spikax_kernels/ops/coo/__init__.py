"""The operator ``coo``; see ``op.py``."""
