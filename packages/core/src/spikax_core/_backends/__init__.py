"""Kernels in other languages than JAX: each module turns what a user writes in one of them into a kernel."""
