"""Images on a registry's: pulled by name, built from by content, known by digest. The registry is a test's own."""

from __future__ import annotations

import base64
import contextlib
import json
import uuid

import pytest

from testbed.containers.removal import remove_named

pytest.importorskip("docker", reason="the Docker SDK is not installed: pip install 'docker>=7.1'")

from docker.errors import ImageNotFound

from testbed.bench.containers import answers
from testbed.containers import build, engine, images, installed, rootfs, startimage
from testbed.containers.nodes import ContainerNodes, exchange_folder
from testbed.containers.specification import Wanted
from testbed.errors import MachineCannot
from testbed.nodes.control import NodeConfig
from testbed.system.journal import Journal
from tests.containers.inside import assert_libraries_are_those_of_processes
from tests.containers.loopback_registry import layer_of, one_file_layer, serving

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(600)]

PYTHON = {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Cmd": ["python3"]}


@pytest.fixture
def registry(container_engine):
    """Whatever was pulled from it goes with it."""
    with serving() as registry:
        yield registry
        _remove(container_engine, registry.address)


@pytest.fixture
def own_names(container_engine, monkeypatch):
    """The images of this test beside those of all the others."""
    monkeypatch.setattr(images, "REPOSITORY", f"wan-testbed-test-{uuid.uuid4().hex[:6]}")
    yield
    _remove(container_engine, images.REPOSITORY)


def _remove(client, prefix):
    """By name; then what an unfinished build left on top, from its end."""
    everything = client.api.images(all=True)
    named = {one["Id"]: [*(one["RepoTags"] or []), *(one["RepoDigests"] or [])] for one in everything}
    ours = [identity for identity, names in named.items() if any(name.startswith(prefix) for name in names)]
    for identity in ours:  # grows: whatever stands on one of ours is ours
        ours += [one["Id"] for one in everything if one["ParentId"] == identity and one["Id"] not in ours]
    for name in [name for identity in ours for name in named[identity] if name.startswith(prefix)] + ours[::-1]:
        with contextlib.suppress(ImageNotFound):  # the last name in a repository takes its digest with it
            client.api.remove_image(name, force=True)


@pytest.fixture
def one_file(registry, tmp_path):
    """Name and digest of an image that is no more than itself."""
    return f"{registry.address}/one-file", registry.add("one-file", "1", one_file_layer(tmp_path), PYTHON)


def ignore(note):
    """Nobody listens."""


def refusal(act, *arguments) -> str:
    with pytest.raises(MachineCannot) as raised:
        act(*arguments)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_images_are_built_on_what_the_registry_serves_and_nodes_run_in_them(
    container_engine, node_images, registry, own_names, tmp_path
):
    """With the library files that processes have."""
    digest = registry.add(
        "python", "3-slim", layer_of(container_engine, "wan-testbed/root:" + images.TAG, tmp_path), PYTHON
    )
    name = f"{registry.address}/python:3-slim"
    made = build.build(container_engine, offline=False, note=print, root=name)
    below = container_engine.api.inspect_image(name)["RootFS"]["Layers"]
    for image in made.values():
        assert container_engine.api.inspect_image(image.name)["RootFS"]["Layers"][: len(below)] == below
        assert image.as_manifest()["origin"] == f"{registry.address}/python@{digest}"

    assert_libraries_are_those_of_processes(container_engine, made["drafter-torch"].digest)

    journal = Journal(tmp_path / "state" / f"t{uuid.uuid4().hex[:6]}" / "journal.jsonl")
    exchange = exchange_folder(journal, "a")
    wanted = Wanted(journal.path.parent.name, "a", made["drafter"], exchange, environment=journal.environment)
    with ContainerNodes(container_engine, journal, [wanted]) as nodes:
        answers(nodes, NodeConfig("a", "here", "127.0.0.1"))
    journal.undo(remove_named)
    journal.close()

    asked, notes = len(registry.asked), []
    assert build.build(container_engine, offline=False, note=notes.append, root=name) == made
    assert len(registry.asked) == asked
    assert sum(note.endswith("up to date") for note in notes) == len(made)


def test_a_tag_and_its_digest_are_the_same_image(container_engine, one_file):
    name, digest = one_file
    by_digest = startimage.obtain(container_engine, f"{name}@{digest}", ignore)
    by_tag = startimage.obtain(container_engine, f"{name}:1", ignore)
    assert by_tag.identity == by_digest.identity
    by_both = startimage.obtain(container_engine, f"{name}:1@{digest}", ignore)
    assert by_tag.identity == by_both.identity
    assert by_tag.origin == by_digest.origin == by_both.origin == f"{name}@{digest}"


def test_an_image_that_was_never_in_a_registry_is_known_by_its_content(container_engine, one_file, own_names):
    pulled = startimage.obtain(container_engine, f"{one_file[0]}:1", ignore)
    mine = f"{images.REPOSITORY}/mine"
    made = container_engine.api.create_container(pulled.identity, network_disabled=True)
    container_engine.api.commit(made["Id"], repository=mine, tag="1")
    container_engine.api.remove_container(made["Id"])
    found = startimage.obtain(container_engine, f"{mine}:1", ignore)
    assert found.origin == f"{mine}:1 {found.identity}"


def test_a_tag_the_registry_does_not_have_is_named(container_engine, registry):
    said = refusal(startimage.obtain, container_engine, f"{registry.address}/python:3-slim", ignore)
    assert f"{registry.address}/python:3-slim cannot be pulled: " in said
    assert said.endswith("; choose another with --base IMAGE")


def test_a_layer_that_is_not_what_its_digest_says_is_refused(container_engine, registry, one_file):
    (layer,) = json.loads(registry.manifests[f"one-file/{one_file[1]}"])["layers"]
    registry.blobs[layer["digest"]] = b"another"
    said = refusal(startimage.obtain, container_engine, f"{one_file[0]}:1", ignore)
    assert f"verification failed for digest {layer['digest']}" in said
    assert images.inspected(container_engine, f"{one_file[0]}:1") is None


def test_a_registry_that_does_not_answer_is_no_dead_end(container_engine):
    with serving() as registry:
        pass
    said = refusal(startimage.obtain, container_engine, f"{registry.address}/python:3-slim", ignore)
    assert "connection refused" in said
    assert said.endswith("use --offline, which needs no registry")


def test_a_registry_that_asks_who_it_is_gets_docker_s_login(
    container_engine, registry, one_file, tmp_path, monkeypatch
):
    registry.password = "secret"
    said = refusal(startimage.obtain, container_engine, f"{one_file[0]}:1", ignore)
    assert said.endswith(f"; docker login {registry.address}, or choose another with --base IMAGE")

    login = base64.b64encode(b"tester:secret").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.address: {"auth": login}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    client = engine.connect(engine.address_of(container_engine))
    assert startimage.obtain(client, f"{one_file[0]}:1", ignore).digest == f"{one_file[0]}@{one_file[1]}"
    client.close()


@pytest.fixture
def few_packages(monkeypatch):
    """The builds of these tests end before they need more."""
    found = [one for one in installed.packages(["tqdm"]) if one.name == "tqdm"]
    monkeypatch.setattr(installed, "packages", lambda: found)


def test_a_base_without_python_is_said_before_anything_is_copied(container_engine, one_file, own_names, few_packages):
    said = refusal(build.build, container_engine, False, ignore, f"{one_file[0]}:1")
    assert 'exec: "python3": executable file not found' in said
    assert f"on {one_file[0]}:1: " in said and "; --base takes an image with Python" in said


def test_a_base_with_another_python_is_said(container_engine, node_images, own_names, few_packages, monkeypatch):
    """As if the packages here were for a Python that is still to come."""
    have = rootfs.python_version()
    root = f"wan-testbed/root:{images.TAG}"
    monkeypatch.setattr(rootfs, "python_version", lambda: "3.99")
    said = refusal(build.build, container_engine, False, ignore, root)
    assert f"its Python is {have}, the packages are for 3.99: " in said
    assert "non-zero code: 1; --base takes an image with Python 3.99" in said
