"""The keys of Duet's wrappers in a MODEL, and of what a run keeps in ComfyUI's `transformer_options`."""

GUIDANCE_KEY = "duet_guidance"  # wrappers of guide_model.py
JOINED_KEY = "duet_joined"  # wrappers of joined/run.py
RUN_KEY = "duet_joined_run"  # in `transformer_options`: the `JoinedRun`
