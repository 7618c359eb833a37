"""Passes of plain decoders in numpy: the same weights and the same arithmetic without a framework's cost per operation.

`kinds` says by configuration which models it takes and reads their weights, `decoder` is one pass, `runtime` keeps the
requests and has the methods of `testbed.models.batch.BatchRuntime`. transformers stays the reference, and the way of
every model that is not known here; `testbed.models.passes` chooses.
"""
