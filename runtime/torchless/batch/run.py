"""The work of `infer`: from images to predictions, written as they come."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torchless.batch.conductor import Sink, conduct
from torchless.batch.identity import Identity, run_identity
from torchless.batch.inputs import check, count, expand
from torchless.batch.options import InferOptions
from torchless.batch.outcome import Outcome
from torchless.batch.outputs import Format, check_format, choose_format, open_writer
from torchless.batch.passed_over import PassedOver
from torchless.engine.options import tell_opened
from torchless.engine.plan import make_plan
from torchless.engine.results import Input, Result
from torchless.errors import UsageError
from torchless.image.decode import take_pillow_over
from torchless.image.opening import import_for
from torchless.process import is_terminal
from torchless.progress import Bar, choose_bar, no_bar

if TYPE_CHECKING:
    from torchless.engine.classifier import Classifier
    from torchless.engine.plan import Plan
    from torchless.engine.session import SessionAhead

Classify = Callable[[Iterator[Input]], Iterator[Result]]


def infer(options: InferOptions, *, ahead: "SessionAhead | None" = None) -> Outcome:
    """Classifies the images and writes a row for each.

    Raises UsageError, ArtifactError or DeviceError before any image is read.
    """
    if options.address is not None:
        raise UsageError("`address` names a Ray cluster: add `engine` ray")
    format = choose_format(options.format, options.output)
    check_format(format, options.output)
    check(options.images)
    if options.resume and (options.output is None or "-" in options.images):
        raise UsageError("`resume` needs `output` FILE, and no image from standard input")
    passed_over = PassedOver(options.strict)
    inputs, known, plan = _plan(options, passed_over)
    if ahead is not None:  # which opens meanwhile
        import_for(options.images[0])
    opening = replace(options.opening, threads=plan.threads)
    take_pillow_over(plan.workers)  # before any thread starts
    classifier, warnings = opening.open_with_warnings(options.model, ahead=ahead)
    tell_opened(classifier, warnings, device=opening.device, workers=plan.workers)
    if options.explain is not None:
        from torchless.batch.explain import explain

        inputs = explain(classifier, inputs, options.explain)
    outcome = _classify(options, classifier, inputs, known, plan, format)
    return replace(outcome, notes=(*passed_over.lines(), *outcome.notes), output=options.output)


def _classify(
    options: InferOptions, classifier: "Classifier", inputs: Iterator[Input], known: int, plan: "Plan", format: Format
) -> Outcome:
    """Classifies, with a progress bar and a journal if there are several images to wait for, or to lose."""
    classify = partial(
        classifier.classify_many, batch_size=options.batch_size, top_k=options.top_k, workers=plan.workers
    )
    output, multi_label = options.output, classifier.head.multi_label
    total = partial(count, options.images, recursive=options.recursive, strict=options.strict)
    bar = choose_bar(total, rows_on_stdout=output is None) if known > 1 else no_bar
    if output is not None:
        from torchless.batch.journal import journal_path

        if options.resume or (known > 1 and journal_path(output) is not None):
            run = run_identity(
                classifier, options.model, options.opening.image_options, top_k=classifier.head.limit(options.top_k)
            )
            return write_rows_through_journal(
                classify,
                inputs,
                format=format,
                output=output,
                bar=bar,
                run=run,
                resume=options.resume,
                multi_label=multi_label,
            )
    return write_rows(classify, inputs, format=format, output=output, bar=bar, multi_label=multi_label)


def _plan(options: InferOptions, passed_over: PassedOver) -> tuple[Iterator[Input], int, "Plan"]:
    """The stream of inputs, read ahead only as far as the plan depends on their number; and that number."""
    from itertools import chain, islice

    from torchless.cpus import available_cpus

    inputs = expand(options.images, recursive=options.recursive, passed_over=passed_over, limits=options.limits)
    first = list(islice(inputs, options.batch_size * max(2, options.workers or available_cpus())))
    plan = make_plan(-(-len(first) // options.batch_size), workers=options.workers, threads=options.opening.threads)
    return chain(first, inputs), len(first), plan


def write_rows(
    classify: Classify,
    inputs: Iterator[Input],
    *,
    format: Format,
    output: Path | None,
    bar: Bar,
    multi_label: bool = False,
) -> Outcome:
    """Writes a row for each input to `output`, which appears when all are done, or to stdout. `multi_label` says that
    the model is.

    Ctrl-C ends the run early: what stdout got so far is well-formed; a file does not appear, and KeyboardInterrupt is
    raised. Raises UsageError if the rows cannot be written.
    """
    with open_writer(format, output, multi_label=multi_label) as writer:
        outcome = conduct(classify, inputs, Sink(writer.write, shown=output is None and is_terminal(sys.stdout)), bar)
        if outcome.interrupted and output is not None:
            raise KeyboardInterrupt
    return outcome


def write_rows_through_journal(
    classify: Classify,
    inputs: Iterator[Input],
    *,
    format: Format,
    output: Path,
    bar: Bar,
    run: Identity,
    resume: bool,
    multi_label: bool = False,
) -> Outcome:
    """Like write_rows, through a journal beside `output`, which stays after Ctrl-C or a kill, and which `resume`
    continues.

    Also raises UsageError if there is a journal that would be lost, or that belongs to another run.
    """
    from torchless.batch.journal import open_journal

    with open_journal(output, run, resume=resume) as journal:
        outcome = conduct(classify, inputs, journal, bar)
        if not outcome.interrupted:
            with open_writer(format, output, multi_label=multi_label) as writer:
                for result in journal.results():
                    writer.write(result)
            journal.remove()
    return outcome
