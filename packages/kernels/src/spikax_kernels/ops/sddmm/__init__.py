"""The operator ``sddmm``; see ``op.py``."""
