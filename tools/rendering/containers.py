"""docs/shipping.md: what a container image took that was built and run without a registry."""

from rendering import Row
from rendering.origin import measured


def built(figures: Row) -> str:
    """Size, start, answer and end, in a sentence each."""
    answer = figures["answer"]
    size, base = figures["without_model_mb"], figures["of_that_base_mb"]
    return (
        f"The demo's model, on Debian {figures['debian']}: {size} MB without the model, of which the base has {base} "
        f"(that of the official Python image differs). Ready {figures['ready_s']} s after its start, as user "
        f"{figures['user']} on a read-only root, it took a photo of a cup for {answer['label']} "
        f"({answer['probability']:.1%}), answered its health check, and ended after SIGTERM with exit code "
        f"{figures['exit_code_after_sigterm']}, with an answer to the request that it was reading. {measured(figures)}"
    )
