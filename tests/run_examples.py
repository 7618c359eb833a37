"""An emulated run small enough for a test: real models, two sites, three policies; and the command that runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

SMALL = {
    "name": "small",
    "topology": "two-sites",
    "workload": {"prompts": "prose", "requests": 3, "output_tokens": 24},
    "models": {"target": "tiny-target", "draft": "tiny-draft"},
    "devices": {"target": "l40s/llama-3.1-8b", "drafter": "l40s/llama-3.2-1b"},
    "place": {"user": "near", "target": "near", "drafter": "far"},
    "policies": ["autoregressive", {"speculative": {"k": 2}}, {"wanspec": {"k": 2, "phi": 0.5}}],
    "seed": 1,
}


def experiment(folder: Path, **changes: object) -> Path:
    """Its file in `folder`; `changes` replace whole keys, or add some."""
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **changes}, sort_keys=False))
    return path


def workload(requests: int, output_tokens: int = 24) -> dict[str, object]:
    return {"prompts": "prose", "requests": requests, "output_tokens": output_tokens}


def command(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """`testbed ARGUMENTS`, under way; options as for Popen."""
    return subprocess.Popen(
        # a shell starts background jobs, this test session perhaps among them, with SIGINT ignored
        ["env", "--default-signal=INT", sys.executable, "-m", "testbed", *map(str, arguments)],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options},
    )


def finished(path: Path, out: Path, *options: object) -> tuple[dict[str, Any], Path]:
    """Runs an experiment's file: its summary and its directory.

    Exit 3 is let pass: a busy machine may make a run invalid, never wrong.
    """
    process = command("run", path, *options, "--out", out, "--json")
    try:
        said, complaints = process.communicate(timeout=250)
    finally:
        process.kill()
    assert process.returncode in (0, 3), complaints
    return json.loads(said), (out / "latest").resolve()
