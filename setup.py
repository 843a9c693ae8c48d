"""Find the packages to build; checkpoints/ and viewer/ become the packages `fastgs.checkpoints` and `fastgs.viewer`.

pyproject.toml holds everything else. It can either let setuptools find packages or list them, and these two lie where
no search would find them.
"""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["fastgs", "fastgs.*"]), "fastgs.checkpoints", "fastgs.viewer"])
