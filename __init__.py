"""Duet: a picture and its sound, denoised together."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """What ComfyUI calls to get the nodes; importing this package alone loads nothing else."""
    from .nodes.extension import DuetExtension

    return DuetExtension()
