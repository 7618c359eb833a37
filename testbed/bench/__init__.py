"""`make bench`: what the testbed's own machinery costs here. Speed is measured here and nowhere else: no test does."""
