"""`make gpu-proof`: what torchless promises of GPUs, proved and measured on the machine at hand.

    python -m gpu_proof                    the quick set, on the first NVIDIA GPU: at most 25 minutes
    python -m gpu_proof --full             more models are measured
    python -m gpu_proof --device cpu       a trial without a GPU, into build/gpu-proof-cpu

It writes figures/gpu/, and docs/gpu.md from it. What one step finds is kept at once, so the same command goes on where
it stopped; a step that fails is named at the end and on the page, and its output is in the log.
"""
