"""What a batched target pass feeds and its rows in the log: the same in both engines.

A batch is one pass with one row per member in the log, all with the pass's times and job number: requests are counted
by rows, passes by (node, job, start), as `testbed.results.metrics.base.passes` does.
"""

from __future__ import annotations

from testbed.models.timing import Feed, Timed, padded
from testbed.nodes.jobs import PassRecord
from testbed.policies.api import VerifyBatch


def feeds_of(job: VerifyBatch) -> list[Feed]:
    """Each member's tokens as the device computes them, padding included."""
    feeds = [Feed(len(member.tokens), member.position) for member in job.members]
    return padded(feeds) if job.padded else feeds


def member_records(
    job: VerifyBatch,
    profile: Timed,
    started_ns: int,
    finished_ns: int,
    paced_ms: float,
    real_ms: float,
    overrun_ms: float,
    factor: float,
) -> tuple[PassRecord, ...]:
    """One pass, as each member of the batch took part in it; a member's tokens are its own, without padding.

    `factor`: of this pass, and so of what a member's own pass would have taken at the same moment.
    """
    return tuple(
        PassRecord(
            started_ns,
            finished_ns,
            paced_ms,
            real_ms,
            overrun_ms,
            member.position,
            len(member.tokens),
            profile.duration_ms(len(member.tokens), member.position) * factor,
        )
        for member in job.members
    )
