"""Finds the packages. All other settings are in pyproject.toml."""

from setuptools import find_packages, setup

PARTS = ("av_models", "benchmarks", "bounce", "commands", "nodes")
FOUND = find_packages(include=[pattern for part in PARTS for pattern in (part, f"{part}.*")])

setup(
    packages=["duet_av", *(f"duet_av.{name}" for name in FOUND)],
    script_name="setup.py",  # so that this file is left out of the package
)
