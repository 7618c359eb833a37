"""A node's device without models, in wall time: answers come from a decode table after the time of one pass."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import assert_never

from testbed.nodes.jobs import Answer, PassRecord
from testbed.nodes.rolehost import Device, OnAnswer
from testbed.policies.api import (
    BatchReady,
    DeviceJob,
    DeviceSample,
    Draft,
    DraftBatch,
    DraftBatchReady,
    DraftTree,
    JobDone,
    Verify,
    VerifyBatch,
    VerifyTree,
)
from testbed.simulation.anydrafter import AnyDrafter
from testbed.tables.table import DecodeTable
from testbed.workload.planned import PlannedRequest

PASS_S = 0.005


class ScriptedDevice(Device):
    """Answers after the time of a pass, from a decode table and a made-up drafter."""

    def __init__(self, table: DecodeTable, planned: Sequence[PlannedRequest]) -> None:
        self._models = AnyDrafter(table)
        for one in planned:
            self._models.bind(one.request, one.prompt_id, one.sampling)

    def submit(self, job: DeviceJob, on_answer: OnAnswer) -> None:
        submitted_ns = time.monotonic_ns()
        asyncio.get_running_loop().call_later(PASS_S, self._answer, job, submitted_ns, on_answer)

    def sample(self) -> DeviceSample | None:
        """None: it is not shared."""
        return None

    def release(self, request: int) -> None:
        """After the jobs before it, as a worker does."""
        asyncio.get_running_loop().call_later(PASS_S, self._models.release, request)

    def _answer(self, job: DeviceJob, submitted_ns: int, on_answer: OnAnswer) -> None:
        members = job.members if isinstance(job, VerifyBatch | DraftBatch) else (job,)
        passes = tuple(
            PassRecord(
                submitted_ns, time.monotonic_ns(), 1e3 * PASS_S, 0.0, 0.0, one.position, len(one.tokens), 0.0, index,
                len(members),
            )
            for index, one in enumerate(members)
        )  # fmt: skip
        on_answer(submitted_ns, Answer(self._done(job), passes))

    def _done(self, job: DeviceJob) -> JobDone:
        match job:
            case Draft():
                return self._models.draft(job)
            case DraftTree():
                return self._models.draft_tree(job)
            case Verify():
                return self._models.verify(job)
            case VerifyTree():
                return self._models.verify_tree(job)
            case VerifyBatch():
                verdicts = (
                    self._models.verify_tree(one) if isinstance(one, VerifyTree) else self._models.verify(one)
                    for one in job.members
                )  # fmt: skip
                return BatchReady(job.job, tuple(verdicts), 1e3 * PASS_S)
            case DraftBatch():
                drafts = (
                    self._models.draft_tree(one) if isinstance(one, DraftTree) else self._models.draft(one)
                    for one in job.members
                )  # fmt: skip
                return DraftBatchReady(job.job, tuple(drafts), 1e3 * PASS_S)
            case _:
                assert_never(job)
