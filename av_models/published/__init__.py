"""Loads published checkpoints: folders saved by diffusers, and the single file of Stable Video Diffusion."""
