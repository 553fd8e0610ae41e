"""The file to open for what a user calls a model. What fetches is imported only for a model that lies elsewhere: every
start comes through here.
"""

from os import PathLike

from torchless.hub.names import is_elsewhere, only_model_in


def local_model(model: str | PathLike[str], *, offline: bool = False, alone: bool = True) -> str | PathLike[str]:
    """The file to open for `model`: one that lies elsewhere is fetched; a folder stands for the model `alone` in it.

    Raises what fetch_model raises.
    """
    if is_elsewhere(model):
        from torchless.hub.fetch import fetch_model

        return fetch_model(str(model), offline=offline or None)
    return (only_model_in(model) if alone else None) or model
