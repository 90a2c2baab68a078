"""Tiny random models in the real layout of published joint models: `python -m duet_av.benchmarks.small_models FAMILY FOLDER`."""
