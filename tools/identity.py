"""Print which environment this is: its directory and the version of its Python.

For example, `/home/ada/service/.venv 3 11`. The programs of an environment begin with the path of
its Python, and packages are installed for one version of it. So if the directory was moved, or
another Python has replaced the one it was created with, the environment has to be created again.
"""

import os
import sys

print(os.path.realpath(sys.prefix), *sys.version_info[:2])
