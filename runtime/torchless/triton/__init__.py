"""Model repositories for Triton Inference Server, and manifests for KServe."""
