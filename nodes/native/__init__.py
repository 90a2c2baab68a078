"""Duet's guidance for the joint models that ComfyUI runs itself: LTX-2 and MiniMax-H3.

A step, in reading order:
    guider.py, guide_model.py: what the nodes make, a GUIDER and a MODEL with guidance
    guided_run.py: one sampling run, which predicts every step
    rows.py: the rows of network calls that the strategy's branches need
    call_options.py: ComfyUI's options for the rows of one call
    adapters: what differs between the models, a file each (with compiled.py and isolated_attention.py)

Around it: input_checks.py; cost.py and shared_calls.py (calls per step, before a run); noise.py and step_noise.py (two seeds);
join_text.py, ltx_text.py and pair_prompts.py (separate prompts); guider_*.py, count_calls.py, frame_rate.py and raised_seeds.py
(Compare Guiders).
"""
