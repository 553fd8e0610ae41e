"""What runs in each worker process of a cluster: one Classifier, and one shard after the other."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from torchless.batch.outputs import Format, rows_in_memory
from torchless.batch.warned import Warnings
from torchless.engine.options import ModelOptions
from torchless.image.decode import take_pillow_over
from torchless.model.onnxfile import HeldFiles
from torchless.ray.folders import ModelFiles, ModelFolder
from torchless.ray.parts import Part
from torchless.ray.shards import Shard
from torchless.records import dataclass


@dataclass(frozen=True, kw_only=True)
class Work:
    """A worker's task, sent to each. `model` is the name of the model's file; relative names are relative to
    `folder`.
    """

    model: str
    folder: str
    format: Format
    top_k: int | None
    batch_size: int
    opening: ModelOptions

    @property
    def cpus(self) -> int:
        """The processors of one worker."""
        return self.opening.threads or 1

    @property
    def gpus(self) -> int:
        """The GPUs of one worker."""
        return self.opening.gpus


class Worker:
    """A Ray actor. `files` are the model's files by name, in memory that all workers of a node share."""

    def __init__(self, work: Work, files: ModelFiles) -> None:
        self._work = work
        self._files: ModelFiles = files

    def load(self) -> None:
        """Opens the model. Not in __init__, whose errors Ray would wrap. Raises what Classifier raises."""
        work = self._work
        with contextlib.suppress(OSError):  # no such folder on this node: names that need it have an error each
            os.chdir(work.folder)
        take_pillow_over(1)
        with ModelFolder() as folder:
            self._classifier = work.opening.open(folder.write(self._files) / work.model)
        self._files = {}

    def classify(self, shard: Shard) -> Part:
        """A row for each input; a bad image's has its error."""
        work = self._work
        results = list(
            self._classifier.classify_many(shard.inputs, batch_size=work.batch_size, top_k=work.top_k, workers=1)
        )
        warnings = Warnings()
        for result in results:
            warnings.add(result)
        return Part(
            shard.name,
            tuple((result.image, result.error) for result in results),
            rows_in_memory(work.format, results, multi_label=self._classifier.head.multi_label),
            warnings.warned,
            warnings.first_warning,
        )


def read_files(paths: Sequence[Path]) -> ModelFiles:
    """Files by name, for Ray's object store, where processes share arrays but not bytes."""
    return {path.name: np.fromfile(path, dtype=np.uint8) for path in paths}


def held_files(name: str, held: HeldFiles) -> ModelFiles:
    """The same, for files that were already read; the model file is called `name`."""
    return {file: np.frombuffer(content, dtype=np.uint8) for file, content in {name: held.content, **held.data}.items()}
