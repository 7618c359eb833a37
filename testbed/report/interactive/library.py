"""Vega, Vega-Lite and vega-embed as one script for the page, from the package that carries them.

Putting them together takes two seconds of processor time, so the script is kept in the user's cache under the
package's version.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
from pathlib import Path

from testbed.errors import TestbedError
from testbed.files.cachefolder import private_folder
from testbed.files.reading import read_text
from testbed.files.whole import replacing

PACKAGE = "vl-convert-python"
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"  # a name; nothing is asked of that address
END_OF_SCRIPT = "</script"


def script() -> str:
    """Text that may stand between `<script>` tags; it sets `vegaEmbed`."""
    kept = _place()
    if kept is not None and kept.is_file():
        with contextlib.suppress(TestbedError):
            return read_text(kept)
    import vl_convert  # loads a JavaScript engine, and is not needed when the script is kept

    text = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace(END_OF_SCRIPT, "<\\/script")
    if kept is not None:
        with contextlib.suppress(TestbedError), replacing(kept, durable=False) as partial:
            partial.write_text(text, encoding="utf-8")
    return text


def _place() -> Path | None:
    folder, _ = private_folder("wan-testbed/report")
    return None if folder is None else folder / f"vega-{importlib.metadata.version(PACKAGE)}.js"
