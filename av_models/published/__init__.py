"""Published checkpoints as they are: folders that diffusers saved, and Stable Video Diffusion's single file."""
