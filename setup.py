"""Find the packages to build; the trained weights of checkpoints/ become the package `fastgs.checkpoints`.

pyproject.toml holds everything else. It can either let setuptools find packages or list them, and the weights lie
where no search would find them.
"""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["fastgs", "fastgs.*"]), "fastgs.checkpoints"])
