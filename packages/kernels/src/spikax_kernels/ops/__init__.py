"""The operators: one folder each, with its declaration, its specification, its kernels and its table of shapes.

Three operators serve every compressed format, and they are each other's derivatives. All come from one trilinear form,
the sum over entries ``k`` (in row ``r``, column ``c``) of ``data[k] * y[r] * x[c]``:

- ``scatter`` is its derivative by ``x``: rows of active events added up, ``spikes @ A``;
- ``gather`` is its derivative by ``y``: each row collects, ``A @ x``;
- ``sddmm`` is its derivative by ``data``: the outer product at the entries, the gradient of a weight.

Each is linear in its operands one by one, and the transpose with respect to any of them is another of the three.

Two more are for matrices that are not compressed: ``coo`` for entries in any order, and ``dense``. ``rows`` reads rows
by means of ``scatter``.
"""
