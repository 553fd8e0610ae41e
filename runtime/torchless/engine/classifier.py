"""Classifier: the public API. The command line, the gate and every server run images through this one class."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from operator import index
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image
from PIL.Image import new as new_image

from torchless.cpus import available_cpus
from torchless.engine.devices import is_cpu
from torchless.engine.groups import Groups, Listed
from torchless.engine.head import head_of
from torchless.engine.interface import check_interface
from torchless.engine.plan import make_plan
from torchless.engine.results import Input, Result
from torchless.engine.session import Session, SessionAhead, open_session
from torchless.engine.travel import Travels
from torchless.errors import ImageError, InferenceError, UsageError
from torchless.image.content import name_of
from torchless.image.decode import Decoded, ImageLike, decode_image
from torchless.image.exact_crop import check_size, preprocess_crop
from torchless.image.opening import check_formats
from torchless.image.options import ImageOptions
from torchless.model.artifact import Artifact, FileDescription, read_artifact
from torchless.model.labels import GivenLabels, labels_given
from torchless.model.manifest import Manifest

Prepared = NDArray[np.float32 | np.uint8]
Rank = Callable[[str | None, NDArray[np.float32]], Result]


class Classifier(Travels):
    """An exported image classifier, ready to run.

        classifier = Classifier("artifacts/resnet50.onnx")
        result = classifier.classify("img.jpg", top_k=5)

    An image is a path, the bytes of an image file, such a file open for reading, a Pillow image, or a uint8 RGB array
    (H, W, 3). Attributes:
    `manifest`; `labels`, one for each class; `head`, what its output means; `device`, what is really used: "cpu",
    "cuda:0"…; `device_note`, why "auto" did not use a GPU, or not for all; `assignment`, how many nodes run on the
    device and how many on the CPU (None where the device is the CPU); `threads` per forward pass; `artifact`, its files
    and what speaks against trusting them; `file`, the ONNX file's header, metadata and graph.
    """

    def __init__(
        self,
        model: str | PathLike[str],
        *,
        device: str = "auto",
        threads: int | None = None,
        labels: GivenLabels | None = None,
        manifest: Manifest | None = None,
        description: FileDescription = FileDescription(),
        image_options: ImageOptions = ImageOptions(),
        threshold: float | None = None,
        max_gpu_bytes: int | None = None,
        require_signature: str | PathLike[str] | bytes | None = None,
    ) -> None:
        """Loads `model`: an .onnx file, the folder that it is alone in, or a name that fetch_model takes.

        `threads` are those of ONNX Runtime per forward pass: by default all that this process may use, and one if
        classify_many runs several passes at once, for which it opens a second session; if you give `threads` there is
        only one session. `labels` replaces the manifest's: the names in order, {index: name}, class_to_idx or a file.
        `manifest`, or `description` and `labels`, are for a file without a manifest. `device` is a name of
        docs/devices.md, such as "cuda:1" or "openvino"; "cuda,tf32" lets a GPU round the inputs of products to 10 bits
        of mantissa: faster, but no longer PyTorch's answers.
        `max_gpu_bytes` is the most of a CUDA GPU's memory that ONNX Runtime holds for this model. `threshold`, for a
        multi-label model, is the probability from which any of its classes counts as present, instead of the
        manifest's. `require_signature` is an Ed25519 public key, a PEM file or its content:
        without a valid signature by it beside the model, SignatureError (docs/security.md). The files are then read
        once and kept in memory. Raises ArtifactError (exit code 3) for the file, DeviceError (4) for the device,
        UsageError (2) for the rest.
        """
        names = labels_given(labels) if labels is not None else None
        artifact = read_artifact(
            model if os.path.isfile(model) else _located(model),
            manifest=manifest,
            description=description,
            labels=names,
            threshold=threshold,
            require_signature=require_signature,
        )
        self._open(
            artifact,
            device=device,
            threads=threads,
            labels=names,
            image_options=image_options,
            threshold=threshold,
            max_gpu_bytes=max_gpu_bytes,
        )

    @classmethod
    def of(
        cls,
        artifact: Artifact,
        *,
        device: str = "auto",
        threads: int | None = None,
        labels: Sequence[str] | None = None,
        image_options: ImageOptions = ImageOptions(),
        threshold: float | None = None,
        max_gpu_bytes: int | None = None,
        ahead: SessionAhead | None = None,
    ) -> "Classifier":
        """A Classifier of an artifact that was already read. Uses the session opened `ahead` if it is the one
        requested.
        """
        classifier = cls.__new__(cls)
        classifier._open(
            artifact,
            device=device,
            threads=threads,
            labels=labels,
            image_options=image_options,
            threshold=threshold,
            max_gpu_bytes=max_gpu_bytes,
            ahead=ahead,
        )
        return classifier

    def _open(
        self,
        artifact: Artifact,
        *,
        device: str,
        threads: int | None,
        labels: Sequence[str] | None,
        image_options: ImageOptions,
        threshold: float | None,
        max_gpu_bytes: int | None,
        ahead: SessionAhead | None = None,
    ) -> None:
        self.artifact, self.manifest, self.file = artifact, artifact.manifest, artifact.file
        self._options: dict[str, Any] = {
            "device": device, "threads": threads, "labels": tuple(labels) if labels is not None else None,
            "image_options": image_options, "threshold": threshold, "max_gpu_bytes": max_gpu_bytes,
        }  # fmt: skip
        self._ticket = None
        self._session = open_session(
            artifact.file, device=device, threads=threads, max_gpu_bytes=max_gpu_bytes, ahead=ahead
        )
        self._shared_session: Session | None = None  # for classify_many
        self._fixed_batch, outputs = check_interface(artifact, self._session.onnx)
        self.head = head_of(artifact, labels=labels, outputs=outputs, threshold=threshold)
        self.labels = self.head.labels
        if image_options.formats:
            check_formats(image_options.formats)
        self._image_options = image_options
        self.device, self.device_note, self.threads = self._session.device, self._session.note, self._session.threads
        self.assignment = self._session.assignment

    def __repr__(self) -> str:
        if self._not_yet is not None:  # to open it would take time, or fail
            return f"<Classifier {self._not_yet.path}: not opened here yet>"
        threads = f", threads={self.threads}" if is_cpu(self.device) else ""
        return (
            f"<Classifier {self.file.path}: {self.manifest.model.name}, {len(self.labels)} classes, "
            f"{self.device}{threads}>"
        )

    def classify(self, image: ImageLike, *, top_k: int | None = None) -> Result:
        """The most probable classes of one image: `top_k` of them, by default 5; of a multi-label model those that
        reach their threshold, at most `top_k`, by default all.

        Raises ImageError if it cannot be read, InferenceError if the model fails.
        """
        _check_at_least_one("top_k", top_k)
        rgb, warning = self.decode_with_warning(image)
        result = self.rank(name_of(image), self.run([self.prepare(rgb)])[0], top_k)
        return result if warning is None else replace(result, warning=warning)

    def classify_many(
        self,
        images: Iterable[ImageLike | Input],
        *,
        batch_size: int = 1,
        top_k: int | None = None,
        workers: int | None = None,
        all_classes: bool = False,
    ) -> Iterator[Result]:
        """One Result for each image, in order, as each is done; the same results for any `workers`.

        `batch_size` images run through the model at once, in each of `workers` threads (by default the fastest number:
        plan.make_plan). An iterator may be endless: at most two batches per worker are read ahead of the current
        result, and none with `workers` 1, which suits a live stream. An image that fails gives a Result with its
        `error`; the others continue. `all_classes` lists the classes that don't reach their threshold too.
        """
        _check_at_least_one("batch_size", batch_size)
        _check_at_least_one("top_k", top_k)
        _check_at_least_one("workers", workers)
        inputs = (image if isinstance(image, Input) else Input(name_of(image), image) for image in _several(images))
        rank = partial(self.head.rank, top_k=top_k, all_classes=all_classes)
        return self._stream(inputs, batch_size, rank, workers, Groups(batch_size) if self._may_group(images) else None)

    def _may_group(self, images: Iterable[ImageLike | Input]) -> bool:
        """Whether more images may be read ahead than run at once: those of an iterator may still be made. A GPU has
        its own rules for batches.
        """
        is_on_cpu = is_cpu(self.device) and self._session.binding is None
        return is_on_cpu and isinstance(images, Sequence | Listed)

    def logits(self, images: Iterable[ImageLike]) -> NDArray[np.float32]:
        """The model's raw output, float32 (N, outputs). `images` may be one array, uint8 (N, H, W, 3).

        Raises ImageError for the first image that fails.
        """
        prepared = [self.preprocess(image) for image in _several(images)]
        return self.run(prepared) if prepared else np.empty((0, self.head.outputs), dtype=np.float32)

    def preprocess(self, image: ImageLike) -> Prepared:
        """The image as the model takes it: float32 (channels, height, width), or uint8 pixels (H, W, 3) if the
        preprocessing is in the graph.
        """
        return self.prepare(self.decode(image))

    def decode(self, image: ImageLike) -> Image:
        """The first half of `preprocess`: an upright RGB image. Raises ImageError."""
        return self.decode_with_warning(image).rgb

    def decode_with_warning(self, image: ImageLike) -> Decoded:
        """The same, with the warning that the image's Result has."""
        side = max(self.manifest.preprocess.resize.size, default=None)
        return decode_image(image, self._image_options, short_side=side)

    def prepare(self, rgb: Image) -> Prepared:
        """The second half of `preprocess`, on the result of `decode`. Raises ImageTooLargeError, and ImageSizeError
        where the model neither resizes nor crops an image to the size of its network.
        """
        options, spec = self._image_options, self.manifest.preprocess
        if spec.size is None:
            check_size(rgb, spec, self.manifest.image_size)
        if self.manifest.input.takes_pixels:
            return np.asarray(rgb)
        return preprocess_crop(rgb, spec, max_pixels=options.max_pixels, decode=options.decode)

    def example(self, batch_size: int = 1) -> Prepared:
        """A batch of `batch_size` black images, as `run` takes it: to warm up a model, or to see whether it runs.

        float32 (N, channels, height, width), or uint8 (N, height, width, 3) if the preprocessing is in the graph.
        Raises UsageError below 1.
        """
        _check_at_least_one("batch_size", batch_size)
        height, width = self.manifest.image_size
        return np.stack([self.prepare(new_image("RGB", (width, height)))] * batch_size)

    @property
    def is_current(self) -> bool:
        """Whether its files are still those that it was opened from."""
        return self._session.files.is_current

    def run(self, batch: Sequence[Prepared] | Prepared, *, threads: int | None = None) -> NDArray[np.float32]:
        """From the results of `preprocess`, as a list or as one array (N, …), to the model's raw output, float32 (N,
        outputs).

        `threads` is for callers that run several batches at once: on a CPU, a session with that number of threads runs
        the batch.
        """
        return self._run_on(self._session if threads is None else self._session_of(threads), batch)

    def _run_on(self, session: Session, images: Sequence[Prepared] | Prepared) -> NDArray[np.float32]:
        names = self.manifest.input.name, self.manifest.output.name
        if self.manifest.input.takes_pixels:  # each has its own size
            return np.concatenate([session.run(image, *names) for image in images])
        if self._fixed_batch is None:
            return session.run_batch(images, *names)
        batch, size = images if isinstance(images, np.ndarray) else np.stack(images), self._fixed_batch
        padding = np.zeros((-len(batch) % size, *batch.shape[1:]), dtype=np.float32)
        padded = np.concatenate([batch, padding])
        return np.concatenate([session.run_batch(padded[i : i + size], *names) for i in range(0, len(padded), size)])[
            : len(batch)
        ]

    def _stream(
        self, inputs: Iterator[Input], batch_size: int, rank: Rank, workers: int | None, groups: Groups | None
    ) -> Iterator[Result]:
        chunks = iter(lambda: list(islice(inputs, batch_size)), []) if groups is None else groups.of(inputs)
        first = list(islice(chunks, workers or available_cpus()))
        if len(first) < 2 or workers == 1:
            for chunk in chain(first, chunks):
                yield from self._classify_chunk(chunk, rank, self._session, batch_size)
            return
        from torchless.engine.ordered import map_in_order  # a single image needs no threads

        plan = make_plan(len(first), workers=workers, threads=self._options["threads"])
        run = partial(self._classify_chunk, rank=rank, session=self._session_of(plan.threads), batch_size=batch_size)
        work = run if groups is None else groups.timed(run)
        with closing(map_in_order(work, chain(first, chunks), workers=plan.workers)) as results:
            for rows in results:
                yield from rows

    def _session_of(self, threads: int) -> Session:
        """A session with that number of threads on the same device; on a GPU, CPU threads hardly matter."""
        if threads == self.threads or not is_cpu(self.device):
            return self._session
        if self._shared_session is None or self._shared_session.threads != threads:
            self._shared_session = open_session(self.file, device=self.device, threads=threads)
        return self._shared_session

    def _classify_chunk(self, chunk: list[Input], rank: Rank, session: Session, batch_size: int) -> list[Result]:
        found = [self._prepare(item) for item in chunk]
        prepared = [outcome for outcome, _ in found]
        arrays = [item for item in prepared if not isinstance(item, str)]
        batches = (arrays[start : start + batch_size] for start in range(0, len(arrays), batch_size))
        rows = chain.from_iterable(self._run_or_explain(batch, session) for batch in batches)
        outcomes = [outcome if isinstance(outcome, str) else next(rows) for outcome in prepared]
        results = [self._result(item.name, outcome, rank) for item, outcome in zip(chunk, outcomes, strict=True)]
        return [
            result if warning is None else replace(result, warning=warning)
            for result, (_, warning) in zip(results, found, strict=True)
        ]

    def _prepare(self, item: Input) -> tuple[Prepared | str, str | None]:
        """The image as the model takes it or why there is none, and the warning of its Result."""
        if item.image is None:
            return item.error or "no image", None
        try:
            rgb, warning = self.decode_with_warning(item.image() if callable(item.image) else item.image)
            return self.prepare(rgb), warning
        except ImageError as error:
            return str(error), None

    def _run_or_explain(self, arrays: list[Prepared], session: Session) -> Sequence[NDArray[np.float32] | str]:
        if not arrays:
            return []
        try:
            return list(self._run_on(session, arrays))
        except InferenceError as error:
            return [str(error)] * len(arrays)

    def _result(self, name: str | None, row: NDArray[np.float32] | str, rank: Rank) -> Result:
        if isinstance(row, str):
            return self.head.failure(name, row)
        try:
            return rank(name, row)
        except InferenceError as error:
            return self.head.failure(name, str(error))

    def rank(self, name: str | None, output: NDArray[np.float32], top_k: int | None) -> Result:
        """The Result for one row of `run`, float32 (outputs,).

        Raises InferenceError for NaN, infinity, or another number of outputs.
        """
        return self.head.rank(name, output, top_k)


def _several(images: Any) -> Iterable[Any]:
    """Raises UsageError for one image where several are expected: taken apart, it would be many wrong ones."""
    one = isinstance(images, str | bytes | bytearray | memoryview | PathLike | Image | Input) or hasattr(images, "read")
    if one or not isinstance(images, Iterable | Sequence):
        what = "one image" if one else f"a {type(images).__name__}"
        raise UsageError(f"images is {what}, where several belong: give a list, [image], or use classify")
    if isinstance(images, np.ndarray) and images.dtype.kind not in "OSU" and images.ndim != 4:
        raise UsageError(
            f"images is an array {images.shape}: give a batch, uint8 (N, H, W, 3), or a list of arrays; one image "
            "goes to classify"
        )
    return images


def _check_at_least_one(name: str, value: int | None) -> None:
    try:
        is_positive = value is None or index(value) >= 1
    except TypeError:
        raise UsageError(f"`{name}` must be a whole number, got {value!r}") from None
    if not is_positive:
        raise UsageError(f"`{name}` must be at least 1, got {value}")


def _located(model: str | PathLike[str]) -> str | PathLike[str]:
    """The file of a model that is named otherwise."""
    from torchless.hub.local import local_model

    return local_model(model)
