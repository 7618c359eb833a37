"""Several targets: which of them a user's request goes to, and what targets say of their load.

It stands before any policy's roles (`PolicySpec.role`), which know one target each: a user's role sees the address of a
service, and what stands behind it is this package's matter. Start with `options`; `rules` has the choices, `router` the
user's side, `report` the target's.

May import what policies may. Rule kept: nothing reads what a deployment could not know. A user knows the round trips it
measured, the requests it sent, and the load that targets reported, as old as the report is on arrival.
"""
