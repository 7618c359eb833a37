"""What a Python program says inside an image."""

from __future__ import annotations

import contextlib
import hashlib
from typing import Any

from docker.errors import NotFound

from testbed.containers import installed

LIBRARIES, WITH_TORCH = "/opt/testbed/lib/", "/opt/testbed/torch/"
HASHES = """\
import hashlib, sys
for place in sys.argv[1:]:
    with open(place, "rb") as file: print(hashlib.file_digest(file, "sha256").hexdigest())
"""


def said_by_python(client: Any, image: str, *arguments: str) -> str:
    made = client.api.create_container(image, entrypoint=["python3", *arguments], network_disabled=True)
    try:
        client.api.start(made["Id"])
        status = client.api.wait(made["Id"])["StatusCode"]
        said: str = client.api.logs(made["Id"]).decode()
    finally:
        with contextlib.suppress(NotFound):
            client.api.remove_container(made["Id"], force=True)
    assert status == 0, said
    return said


def assert_libraries_are_those_of_processes(client: Any, image: str) -> None:
    """Of every package its largest file. The image is one with PyTorch."""
    light = installed.packages()
    chosen = [
        (folder, *max(one.files, key=lambda file: file[1].stat().st_size))
        for folder, packages in ((LIBRARIES, light), (WITH_TORCH, installed.heavy_packages(light)))
        for one in packages
    ]
    places = [f"{folder}{place}" for folder, place, _ in chosen]
    hashes = said_by_python(client, image, "-c", HASHES, *places).split()
    for (_, place, path), inside in zip(chosen, hashes, strict=True):
        with path.open("rb") as file:
            assert inside == hashlib.file_digest(file, "sha256").hexdigest(), place
