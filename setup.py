"""Finds the packages; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

PARTS = ("av_models", "benchmarks", "bounce", "commands", "nodes")

setup(packages=["duet_av", *(f"duet_av.{name}" for name in find_packages(include=[f"{part}*" for part in PARTS]))])
