"""Which drafting nodes share a model worker: the one place of that rule.

A model worker is a process that competes for a core, and holds PyTorch (0.4 GB) where its models need that. A few
beside one another are fine, and then every node keeps its own, as on their own machines. Dozens on two cores would be
switched between at the kernel's will, several milliseconds each, while what is due waits; one process that computes the
earliest due first, whosever it is, keeps paced results in time.

Nodes that run the target are never among them: one batched pass takes as long as dozens of draft steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

MOST_OWN_WORKERS = 4  # drafting nodes that have each its own worker
NODES_A_WORKER = 8  # where cores are many: fewer would share too few passes to be worth another process
SPARED_CORES = 1  # for the target's worker, the node programs and the shaper


def shared_workers(models: Mapping[str, Mapping[str, str]], cores: int) -> list[list[str]]:
    """The nodes each shared worker serves, by what the nodes load ("target", "draft"); empty: each has its own.

    One worker for every NODES_A_WORKER, as far as there are cores to spare, one at least; nodes take turns over them.
    """
    drafting = [node for node, loads in models.items() if "draft" in loads and "target" not in loads]
    if len(drafting) <= MOST_OWN_WORKERS:
        return []
    workers = max(1, min(cores - SPARED_CORES, -(-len(drafting) // NODES_A_WORKER)))
    return [drafting[number::workers] for number in range(workers)]


def why(served: Sequence[Sequence[str]]) -> str:
    """One line for progress and manifest."""
    nodes = sum(map(len, served))
    if not nodes:
        return f"one model worker per node: at most {MOST_OWN_WORKERS} nodes draft"
    return f"{len(served)} shared model worker(s) for {nodes} drafting nodes, more than {MOST_OWN_WORKERS}"
