"""Experts: pretrained diffusers networks of one modality, behind a common interface."""
