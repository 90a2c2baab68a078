"""The nodes: thin classes that unpack, call `av_models` and wrap. They meet ComfyUI in `host.py` alone."""
