"""The operator ``gather``; see ``op.py``."""
