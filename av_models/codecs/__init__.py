"""Codecs: autoencoders between video frames or waveforms and latents."""
