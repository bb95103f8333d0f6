"""The operator ``dense``; see ``op.py``."""
