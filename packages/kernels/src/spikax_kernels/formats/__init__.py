"""Sparse formats: frozen pytrees that call the operators."""
