"""The gallery: every program in docs/examples is run, and becomes a page with its picture, its output and its source.

A program takes `--plot PATH` and begins with a docstring whose first line says what it shows.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

from sphinx.application import Sphinx

PAGE = """\
# {title}

{text}

```{{image}} {name}.png
:alt: {title}
```

`python docs/examples/{name}.py` prints

```text
{output}
```

## Source

```{{literalinclude}} ../examples/{name}.py
:language: python
```
"""


def render(example: Path, gallery: Path) -> None:
    """Run one program and write its page."""
    title, _, text = (ast.get_docstring(ast.parse(example.read_text())) or example.stem).partition("\n")
    output = subprocess.run(
        [sys.executable, str(example), "--plot", f"{example.stem}.png"],
        cwd=gallery,
        env=os.environ | {"MPLBACKEND": "agg"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    page = PAGE.format(title=title.rstrip("."), text=text.strip(), name=example.stem, output=output.strip())
    (gallery / f"{example.stem}.md").write_text(page)


def render_all(app: Sphinx) -> None:
    """Write the pages before Sphinx looks for them."""
    gallery = Path(app.srcdir) / "gallery"
    gallery.mkdir(exist_ok=True)
    for example in sorted((Path(app.srcdir) / "examples").glob("*.py")):
        render(example, gallery)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", render_all)
    return {"parallel_read_safe": True}
