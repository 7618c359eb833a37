"""A page in a real browser: headless Chromium loads a file, runs a probe in it and gives back what the probe found."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here; on Debian: apt-get install chromium")
FOUND = re.compile(r'<pre id="found">(.*?)</pre>', re.DOTALL)
ERRORS = """<script>
window.wrong = [];
onerror = (text) => { wrong.push(text); };
console.error = (...said) => { wrong.push(said.join(" ")); };
</script>"""
# After everything is drawn: what the function returns, and every error that was heard.
PROBE = """<script>setTimeout(async () => {
  const found = await (%s)();
  parent.postMessage({ found: found ?? null, wrong }, "*");
}, 2000);</script>"""
# A window has a least width, a frame has not.
FRAME = """<!doctype html><style>body {{ margin: 0; }}</style><pre id="found"></pre>
<iframe title="page" src="page.html" style="width: {width}px; height: 900px; border: 0"></iframe>
<script>onmessage = (said) => {{ document.getElementById("found").textContent = JSON.stringify(said.data); }};</script>
"""


def axe() -> str:
    """Deque's accessibility checks, as a script."""
    return (files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")


def look(page: str, folder: Path, width: int, probe: str, scripts: str = "", dark: bool = False) -> Any:
    """What `probe`, the text of a JavaScript function, returns; fails on any error in the page."""
    at, frame = folder / "page.html", folder / "frame.html"
    body, closing, rest = page.replace("<head>", f"<head>{ERRORS}", 1).rpartition("</body>")
    at.write_text(f"{body}<script>{scripts}</script>{PROBE % probe}{closing}{rest}", encoding="utf-8")
    frame.write_text(FRAME.format(width=width), encoding="utf-8")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    options += [f"--window-size={width + 20},1000", "--virtual-time-budget=20000", "--dump-dom"]
    if dark:
        options.append("--blink-settings=preferredColorScheme=0")
    ran = subprocess.run([CHROMIUM, *options, frame.as_uri()], capture_output=True, text=True, timeout=120, check=False)
    match = FOUND.search(ran.stdout)
    assert match is not None and match[1], f"the page never answered: {ran.stderr[-2000:]}"
    answer = json.loads(html.unescape(match[1]))
    assert answer["wrong"] == []
    return answer["found"]
