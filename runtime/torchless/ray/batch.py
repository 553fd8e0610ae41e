"""`infer --engine ray`: many images on the processors of a Ray cluster, into a folder of JSON Lines or Parquet files.

It uses Ray's actors, not Ray Data, whose plan begins with the list of all files. Here names stream, from archives too;
a name given twice has two rows; the output alone shows what is done; and an image that kills its worker costs only its
own row, not the run.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torchless.batch.conductor import conduct
from torchless.batch.identity import run_identity
from torchless.batch.inputs import check, count, expand
from torchless.batch.options import InferOptions
from torchless.batch.outcome import Outcome
from torchless.batch.outputs import Format, check_format
from torchless.batch.passed_over import PassedOver
from torchless.cpus import available_cpus
from torchless.engine.options import tell_opened
from torchless.errors import UsageError
from torchless.progress import choose_bar
from torchless.ray.cluster import cluster, import_ray
from torchless.ray.parts import open_parts
from torchless.ray.pool import Pool
from torchless.ray.shards import make_shards
from torchless.ray.worker import Work, held_files, read_files


def infer_on_ray(options: InferOptions) -> Outcome:
    """Classifies the images and writes the folder `options.output`.

    Raises UsageError, ArtifactError, DeviceError or MissingDependencyError, mostly before any image is read.
    """
    output, format = options.output, options.format or Format.JSONL
    if output is None or format not in (Format.JSONL, Format.PARQUET):
        raise UsageError(
            "`engine` ray writes a folder of files: name it with `output`, and leave `format` out or make it "
            "jsonl or parquet"
        )
    check_format(format, output)
    check(options.images)
    import_ray(options.address)
    work = _work(options, format)
    # On one thread, to report errors of the model before a cluster starts.
    classifier, warnings = replace(options.opening, device="cpu", threads=1, max_gpu_bytes=None).open_with_warnings(
        options.model
    )
    run = run_identity(
        classifier,
        options.model,
        options.opening.image_options,
        top_k=classifier.head.limit(options.top_k),
        format=format.value,
    )
    held = classifier.file.held
    files = held_files(options.model.name, held) if held is not None else read_files(classifier.artifact.files)
    own_cpus = max(available_cpus(), (options.workers or 1) * work.cpus)
    with (
        open_parts(output, format, run, resume=options.resume) as parts,
        cluster(options.address, cpus=own_cpus, model_bytes=sum(content.nbytes for content in files.values())) as ray,
    ):
        workers = options.workers or _workers(ray, work)
        tell_opened(classifier, warnings, device=options.opening.device, workers=workers)
        pool = Pool(ray, work, ray.put(files), workers=workers)
        del classifier, held, files  # this process no longer needs them
        shards = partial(make_shards, size=options.part_size, workers=workers, first=parts.next_number)
        bar = choose_bar(lambda: count(options.images, recursive=options.recursive, strict=options.strict))
        passed_over = PassedOver(options.strict)
        inputs = expand(options.images, recursive=options.recursive, passed_over=passed_over, limits=options.limits)
        with pool:
            outcome = conduct(lambda left: pool.run(shards(left)), inputs, parts, bar)
        if not outcome.interrupted:
            parts.finish()
    return replace(outcome, notes=(*passed_over.lines(), *outcome.notes), output=output)


def _work(options: InferOptions, format: Format) -> Work:
    opening = options.opening
    return Work(
        model=options.model.name,
        folder=str(Path.cwd()),
        format=format,
        top_k=options.top_k,
        batch_size=options.batch_size,
        opening=replace(
            opening,
            device="cpu" if opening.device == "auto" else opening.device,
            threads=opening.threads or 1,
            require_signature=None,  # workers get the bytes that were checked here
        ),
    )


def _workers(ray: Any, work: Work) -> int:
    """As many as the cluster has room for."""
    resources = ray.cluster_resources()
    by_cpu = int(resources.get("CPU", 0)) // work.cpus
    return max(1, min(by_cpu, int(resources.get("GPU", 0))) if work.gpus else by_cpu)
