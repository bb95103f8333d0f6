"""The operator ``scatter``; see ``op.py``."""
