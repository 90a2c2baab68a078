"""The nodes: thin classes that unpack their inputs, call `av_models` and wrap the result. Only `host.py` imports ComfyUI."""
