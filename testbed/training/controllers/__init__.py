"""Speculation controllers: trained on decode tables here, read and asked by `testbed.policies.wisp.classifier`.

The `.json` files beside this one ship; each says in `origin` which table, seed and split made it and what it reaches.
"""
