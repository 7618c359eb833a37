"""Ends the build of an image whose Python the packages do not fit: compiled ones fit one version only ($PYTHON)."""

import os
import sys

have, wanted = "{}.{}".format(*sys.version_info), os.environ["PYTHON"]
sys.exit(None if have == wanted else f"its Python is {have}, the packages are for {wanted}")
