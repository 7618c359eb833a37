"""The compiled world: a second way to compute what `simulation.world` says, for what most sweeps are made of.

Rule kept: it is an accelerator, not a second truth. Every row of every table it gives is the object world's, to the
nanosecond (`tests/simulation/test_compiled_*.py`); what it cannot do it declines, with the reason (`support.supports`),
and what goes wrong in it is run again by the object world, which says what it was.

`layout` is its memory, `loop` takes the events, and the other modules stand beside the object modules they mirror:

    events     simulation.kernel, simulation.links      controller, path, worker   policies.wanspec
    running    simulation.device, policies.device       speculative, target        policies.speculative, .session
    drafting   models.replay, decoding.cacheview        sizes                      wire.framing

`phase` puts a world together and reads its logs. Importing this package imports no compiler; `phase` does.
"""

from testbed.simulation.compiled.support import supports

__all__ = ["supports"]
