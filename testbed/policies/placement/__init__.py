"""Several drafters: which one drafts for a request, when it moves to another one, and what drafters say of their load.

The role that runs the target asks (`sites`), by the rule of its parameters (`options`); drafters that are watched
report (`report`). WANSpec uses it; any policy that hands drafting to others can.

May import what policies may. Rule kept: as in `policies.routing`, nothing reads what a deployment could not know. A
target knows the round trips it measured, the requests it handed out, and the load that drafters reported, as old as the
report is on arrival.
"""
