"""Two of ComfyUI's models as one MODEL that denoises a video and its audio."""
