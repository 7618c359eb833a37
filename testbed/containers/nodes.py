"""The containers of one run: made and started side by side, waiting for their configuration until the network is up.

Every container is journalled by name before it is made. Leaving the context removes them all; what a crash leaves,
`testbed clean` removes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from testbed.containers.engine import address_of, check, explained, facts
from testbed.containers.images import Image
from testbed.containers.priority import precede
from testbed.containers.program import ContainerProgram, ControlSocket
from testbed.containers.removal import remove
from testbed.containers.specification import EXCHANGE, SOCKET, Wanted, container_config
from testbed.errors import MachineCannot
from testbed.system.interrupt import taking_down
from testbed.system.journal import Journal
from testbed.system.sidebyside import side_by_side

if TYPE_CHECKING:
    from docker import DockerClient

AT_ONCE = 8  # more only queue up in the engine
# the engine's words (moby, daemon/devices_linux.go) when it found no nvidia-container-runtime-hook as it started
NO_GPU_DRIVER = "could not select device driver"
GPUS_REFUSED = ("hook", "CDI")  # the toolkit's program failed, or the engine's list of devices lacks one asked for
TOOLKIT_FIX = "apt-get install nvidia-container-toolkit from NVIDIA's package repository, then restart Docker"
GPUS_FIX = "nvidia-smi -L lists the available ones"


class ContainerNodes:
    """Node name to container. `pids` are the processes that hold their network namespaces."""

    def __init__(self, client: DockerClient, journal: Journal, wanted: Sequence[Wanted]) -> None:
        self.pids: dict[str, int] = {}
        self.programs: dict[str, ContainerProgram] = {}
        self._client = client
        self._journal = journal
        self._wanted = {one.node: one for one in wanted}
        self._facts = facts(client)
        self._ended: dict[str, int | None] = {}

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def check(self) -> None:
        """Raises NoEngine when the engine has died, since a node's end could not be seen, nor the node removed.

        Raises what a program ended of that still waits for its configuration: later its node tells.
        """
        check(self._client)
        for program in list(self.programs.values()):
            program.check()

    def precede_compute(self) -> dict[str, str]:
        """Gives the node programs and their workers their priorities; says what each node program got."""
        return precede(self.pids)

    def rows_path(self, node: str, file_name: str) -> tuple[Path, str]:
        """A file in the node's exchange folder: where it lies here, and as the node sees it."""
        return self._wanted[node].exchange / file_name, f"{EXCHANGE}/{file_name}"

    def facts(self) -> dict[str, Any]:
        """Provenance for the manifest; exit statuses are those of the programs that have ended."""
        images: dict[str, Image] = {one.node: one.image for one in self._wanted.values()}
        return {
            **self._facts,
            "images": {image.name: image.as_manifest() for image in images.values()},
            "node_images": {node: image.name for node, image in images.items()},
            "exit_status": dict(self._ended),
        }

    def close(self) -> None:
        """Ends and removes every container. Safe at any moment, more than once."""
        with taking_down():
            for name, program in self.programs.items():
                program.close()
                self._ended.setdefault(name, None)
            if self._wanted:
                side_by_side(self._remove, self._wanted.values(), AT_ONCE, "containers", all_tried=True)
            self.programs.clear()
            self.pids.clear()

    def note_exits(self) -> None:
        """Remembers how the programs ended, before their containers go."""
        self._ended = {name: self.programs[name].status() for name in self._wanted}

    def _make(self) -> None:
        address = address_of(self._client)
        for one in self._wanted.values():
            self._journal.container(address, one.name)
        for folder in sorted({one.exchange.parent for one in self._wanted.values()}):
            self._journal.directory(folder)
        for one in self._wanted.values():
            one.exchange.mkdir(parents=True)
            one.exchange.chmod(0o777)  # for the container's user; the journal's own folder keeps others out
        side_by_side(self._start, self._wanted.values(), AT_ONCE, "containers", all_tried=True)
        for program in self.programs.values():
            program.connect()

    def _start(self, one: Wanted) -> None:
        """What it makes is entered at once, so that `close` finds it however this ends."""
        remove(self._client, one.name, one.run_id)  # of the same run, crashed before
        control = ControlSocket(one.exchange, Path(SOCKET).name)
        try:
            with _engine_words(one):
                made = self._client.api.create_container_from_config(container_config(one), one.name)
        except BaseException:
            control.close()
            raise
        program = self.programs[one.node] = ContainerProgram(self._client, made["Id"], one.node, control)
        with _engine_words(one):
            self._client.api.start(made["Id"])
            pid = int(self._client.api.inspect_container(made["Id"])["State"]["Pid"])
        if not belongs(pid, made["Id"]) and program.status() is None:  # one that has ended says why: `connect`
            raise MachineCannot(
                "nodes docker: the Docker daemon is in another PID namespace; run the testbed beside the daemon, or "
                "in a container with --pid host"
            )
        self.pids[one.node] = pid

    def _remove(self, one: Wanted) -> None:
        remove(self._client, one.name, one.run_id)


@contextmanager
def _engine_words(wanted: Wanted) -> Iterator[None]:
    """What the engine says when a container cannot be started, with the fix where it asks for GPUs."""
    try:
        with explained(f"nodes docker: the container of {wanted.node} did not start"):
            yield
    except MachineCannot as error:
        said, where = str(error), f"compute: gpus of {wanted.node}"
        if NO_GPU_DRIVER in said:
            raise MachineCannot(f"{where}: Docker has no GPU driver; {TOOLKIT_FIX}") from error
        if wanted.limits.gpus and any(word in said for word in GPUS_REFUSED):
            own_words = said.rpartition("stderr: ")[2].removesuffix(": unknown")
            raise MachineCannot(f"{where}: {own_words}; {GPUS_FIX}") from error
        raise


def belongs(pid: int, container: str) -> bool:
    """Whether the process of this number, as seen from here, is the container's."""
    try:
        return container in Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False


def exchange_folder(journal: Journal, node: str) -> Path:
    """Where a node and the engine leave files for each other."""
    return journal.path.parent / "nodes" / node
