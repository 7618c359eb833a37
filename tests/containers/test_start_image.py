"""Which image a name stands for, and what is said where there is none. No engine is needed here."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("docker", reason="the Docker SDK is not installed: pip install 'docker>=7.1'")

import docker

from testbed.containers import build, images, installed, startimage
from testbed.errors import MachineCannot

SEVERAL = ["a.example/mirror@sha256:aaa", "python@sha256:aaa", "python@sha256:bbb", "z.example:5000/python@sha256:aaa"]
IDENTITY = f"sha256:{'1' * 64}"


def origin(monkeypatch, name: str, served: list[str]) -> str:
    monkeypatch.setattr(images, "inspected", lambda client, name: {"Id": IDENTITY, "RepoDigests": served})
    return startimage.obtain(None, name, print).origin


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("python:3.11-slim", "python@sha256:aaa"),
        ("docker.io/library/python:3.11-slim", "python@sha256:aaa"),
        ("docker.io/library/python", "python@sha256:aaa"),
        ("python@sha256:bbb", "python@sha256:bbb"),
        ("python:3.11-slim@sha256:bbb", "python@sha256:bbb"),
        ("docker.io/library/python@sha256:bbb", "python@sha256:bbb"),
        ("z.example:5000/python:3.11-slim", "z.example:5000/python@sha256:aaa"),
        ("z.example:5000/python", "z.example:5000/python@sha256:aaa"),
        (IDENTITY, "a.example/mirror@sha256:aaa"),
    ],
)
def test_the_origin_is_what_was_asked_for(monkeypatch, name, expected):
    assert origin(monkeypatch, name, SEVERAL) == expected


def test_an_engine_that_writes_names_in_full_is_understood(monkeypatch):
    served = ["a.example/mirror@sha256:aaa", "docker.io/library/python@sha256:aaa"]
    assert origin(monkeypatch, "python:3.11-slim", served) == "docker.io/library/python@sha256:aaa"


def refusal(monkeypatch, name: str, words: str) -> str:
    def pull(*_, **__):
        raise docker.errors.NotFound("404", explanation=words)

    monkeypatch.setattr(images, "inspected", lambda client, name: None)
    with pytest.raises(MachineCannot) as raised:
        startimage.obtain(SimpleNamespace(api=SimpleNamespace(pull=pull)), name, lambda note: None)
    return str(raised.value)


def test_a_registry_that_hides_what_it_does_not_have_gets_both_fixes(monkeypatch):
    words = "pull access denied for pyhton, repository does not exist or may require 'docker login'"
    assert refusal(monkeypatch, "pyhton:3", words).endswith(
        f"{words}; docker login docker.io, or choose another with --base IMAGE"
    )


def test_an_id_that_the_engine_does_not_have_is_not_looked_for_in_registries(monkeypatch):
    assert refusal(monkeypatch, IDENTITY, "pulled") == (
        f"images build: Docker has no image {IDENTITY}; name one with --base REPOSITORY@DIGEST"
    )


@pytest.fixture
def base_key(monkeypatch):
    """The key of a base for an origin, packages and Python, without a build."""
    (tqdm,) = [one for one in installed.packages(["tqdm"]) if one.name == "tqdm"]

    def key(served: str = "python@sha256:aaa", files=tqdm.files, python: str = "3.11") -> str:
        keys: list[str] = []
        chosen = installed.Package(tqdm.name, tqdm.version, files, tqdm.record_sha256)
        monkeypatch.setattr(images, "inspected", lambda client, name: {"Id": IDENTITY, "RepoDigests": [served]})
        monkeypatch.setattr(installed, "packages", lambda: [chosen])
        monkeypatch.setattr("testbed.containers.rootfs.python_version", lambda: python)
        monkeypatch.setattr(build, "_unless_known", lambda client, kind, key, note, what: keys.append(key))
        build._base_on(None, "python:3", lambda note: None)
        return keys[0]

    return lambda **changes: key(**changes)


def test_the_key_of_a_base_follows_its_origin_its_python_and_the_files_that_were_chosen(base_key):
    assert base_key() == base_key()
    (tqdm,) = installed.packages()
    changed = [base_key(served="python@sha256:bbb"), base_key(python="3.12"), base_key(files=tqdm.files[1:])]
    assert len({base_key(), *changed}) == 4
