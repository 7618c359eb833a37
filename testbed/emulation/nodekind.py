"""What the nodes of a run are: processes in namespaces, or containers; decided once, before anything is made.

`auto` never looks at what happens to be installed: the same file and command give the same kind of node on every
machine. It is `process`, unless the experiment asks for what only a container has (`compute:` with gpus, cpus, memory
or tmp).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from testbed.containers import mounts
from testbed.containers.engine import connect
from testbed.containers.images import Image, for_roles
from testbed.containers.nodes import ContainerNodes, exchange_folder
from testbed.containers.specification import Limits, Wanted
from testbed.errors import BadInput, MachineCannot
from testbed.experiment.compute import NodeChoice, NodeCompute
from testbed.experiment.scenario import Scenario
from testbed.models.load import local_folder
from testbed.models.lookup import LOOKUP
from testbed.models.passes import TRANSFORMERS
from testbed.models.placement import CPU
from testbed.system.journal import Journal
from testbed.system.userns import as_root, privilege


@dataclass(frozen=True)
class NodeKind:
    """The kind, why, and for containers the engine and the image of each node."""

    name: Literal["docker", "process"]
    reason: str
    engine: Any = None  # docker.DockerClient
    images: Mapping[str, Image] = field(default_factory=dict)

    def ingredients(self) -> dict[str, str]:
        """For the run's id."""
        return {f"image {image.name}": image.digest for image in self.images.values()}


def choose(requested: NodeChoice, scenario: Scenario) -> NodeKind:
    """Raises BadInput or MachineCannot before anything is made."""
    nodes = scenario.place.nodes()
    needing = [name for name in nodes if scenario.compute_of(name).needs_container]
    if requested == "process" and needing:
        raise BadInput(
            f"compute: {needing[0]} asks for gpus, cpus, memory or tmp, which need containers; remove them, or use "
            "--nodes docker"
        )
    if requested == "process" or (requested == "auto" and not needing):
        return NodeKind("process", "requested" if requested == "process" else "nothing needs containers")
    if privilege() == "user namespace":
        raise MachineCannot(f"nodes docker: containers belong to root, so their links need root; {as_root()}")
    client = connect()
    of_roles = for_roles(client, {role for role, _ in nodes.values()})
    images = {name: of_roles[role] for name, (role, _) in nodes.items()}
    return NodeKind("docker", "requested" if requested == "docker" else f"compute: {needing[0]}", client, images)


def fitted(
    kind: NodeKind, scenario: Scenario, loaded: Mapping[str, Mapping[str, str]], packed: Iterable[str]
) -> NodeKind:
    """With PyTorch in the images of the nodes that need it, and of no other; `packed` are the roles of mapped models.

    Raises MachineCannot if the image is missing.
    """
    if kind.name == "process":
        return kind
    mapped = {*packed}
    heavy = {name for name, models in loaded.items() if _needs_torch(scenario.compute_of(name), models, mapped)}
    roles = {name: role for name, (role, _) in scenario.place.nodes().items()}
    of_roles = for_roles(kind.engine, {roles[name] for name in heavy}, torch=True)
    return replace(kind, images={**kind.images, **{name: of_roles[roles[name]] for name in heavy}})


def _needs_torch(compute: NodeCompute, models: Mapping[str, str], mapped: Collection[str]) -> bool:
    """As a worker decides it (`testbed.nodes.worker`)."""
    by_transformers = compute.accelerator != CPU or compute.passes == TRANSFORMERS
    return any(name != LOOKUP and (by_transformers or role not in mapped) for role, name in models.items())


@contextmanager
def containers(
    kind: NodeKind, scenario: Scenario, packs: Iterable[str], attempt: str, journal: Journal, clock: Path
) -> Iterator[ContainerNodes | None]:
    """The containers of a run, waiting; None where nodes are processes.

    `packs`: weights as nodes read them. `clock`: the page of the run's clock.
    """
    if kind.name == "process":
        yield None
        return
    models = mounts.of_models(model_folders(scenario.models.model_dump().values()))
    files = mounts.of_names(scenario.resolved())
    weights = sum(path.stat().st_size for folder in models for path in folder.iterdir() if path.is_file())
    wanted = [
        Wanted(
            run_id=attempt,
            node=name,
            image=kind.images[name],
            exchange=exchange_folder(journal, name),
            mounts=tuple(sorted(models | files)),
            packs=tuple(map(Path, packs)),
            working_dir=Path.cwd(),
            limits=_limits(scenario.compute_of(name)),
            environment=journal.environment,
            clock=clock,
            weights_bytes=weights,
        )
        for name in scenario.place.nodes()
    ]
    with closing(kind.engine), ContainerNodes(kind.engine, journal, wanted) as made:
        yield made


def _limits(given: NodeCompute) -> Limits:
    return Limits(given.gpus, given.cpus, given.memory_bytes, given.tmp_bytes)


def model_folders(names: Iterable[str]) -> list[Path]:
    """Where the files of models lie, whatever they are called; paths without links. Raises BadInput."""
    return [local_folder(name).resolve() for name in names if name != LOOKUP]
