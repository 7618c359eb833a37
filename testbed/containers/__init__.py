"""Nodes in containers: the engine, the images, and one container per node. The Docker SDK is imported only when
used."""
