"""The proof without PyTorch: what passes, what each fault fails, and what the verb says of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import onnx_model

import torchless
from torchless.engine.classifier import Classifier
from torchless.engine.head import Head
from torchless.errors import ManifestError, ManifestMissingError, ProofError
from torchless.image.options import ImageOptions
from torchless.model.artifact import read_artifact
from torchless.model.evidence import Evidence, evidence_of, in_base64, logits_text
from torchless.model.manifest import Manifest
from torchless.proof.answers import answer
from torchless.proof.run import prove, require_proof

Forge = Callable[..., Path]


@pytest.fixture
def forged(tiny: Path, tmp_path: Path) -> Forge:
    """A function that writes a copy of an artifact with other weights, manifest or evidence, and a seal that fits."""

    def write(
        weights: Callable[[Any], Any] | None = None,
        manifest: Callable[[Manifest], Manifest] | None = None,
        evidence: Callable[[Evidence], Evidence] | None = None,
        source: Path = tiny,
    ) -> Path:
        model, artifact = onnx_model.load(source), read_artifact(source)
        if weights is not None:
            weight = onnx_model.first_weight(model)
            weight.raw_data = np.asarray(weights(np.frombuffer(weight.raw_data, np.float32)), np.float32).tobytes()
        if manifest is not None:
            onnx_model.metadata_entry(model, Manifest.KEY).value = manifest(artifact.manifest).to_json()
        if evidence is not None:
            onnx_model.metadata_entry(model, Evidence.KEY).value = evidence(evidence_of(artifact)).to_text()
        return onnx_model.save_sealed(model, tmp_path / "forged.onnx")

    return write


def verified(path: Path) -> torchless.Proof:
    return torchless.verify(path, device="cpu")


@pytest.mark.parametrize("model", ["tiny", "pixels", "pair"])
def test_an_artifact_proves_itself(model: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(model)
    proof = verified(path)
    names = ["seal", "labels", "preprocessing", "logits", "batching", "decision"]
    assert [check.name for check in proof.checks] == [name for name in names if (name, model) != ("batching", "pixels")]
    assert (proof.passed, proof.failed, proof.images, proof.device) == (True, [], 2, "cpu")
    assert str(proof) == (f"{path}: proved against PyTorch's recorded answers on 2 images; PyTorch itself was not run")


def test_a_weight_that_changed(forged: Forge) -> None:
    assert verified(forged(weights=lambda old: old * 1.001)).failed == ["logits"]
    assert verified(forged(weights=lambda old: -old)).failed == ["logits", "decision"]


def test_a_broken_seal(tiny: Path, tmp_path: Path) -> None:
    model, path = onnx_model.load(tiny), tmp_path / "tiny.onnx"
    model.producer_name = "somebody else"
    onnx_model.save(model, path)
    assert verified(path).failed == ["seal"]


def test_another_preprocessing(forged: Forge) -> None:
    def nearer(manifest: Manifest) -> Manifest:
        return replace(manifest, preprocess=replace(manifest.preprocess, interpolation="bilinear"))

    proof = verified(forged(manifest=nearer))
    assert proof.failed[:2] == ["preprocessing", "logits"]
    assert proof.checks[2].detail == "prepared tensors differ: noise 9×7, camera.jpg, small"


def test_labels_in_another_order(forged: Forge, tiny: Path) -> None:
    answers = {image.label for image in evidence_of(read_artifact(tiny)).images}

    def swapped(first: int, second: int, manifest: Manifest) -> Manifest:
        labels = list(manifest.labels)
        labels[first], labels[second] = labels[second], labels[first]
        return replace(manifest, labels=tuple(labels))

    labels = read_artifact(tiny).manifest.labels
    answer = labels.index(next(iter(answers)))
    other, another = [index for index, label in enumerate(labels) if label not in answers][:2]
    proof = verified(forged(manifest=partial(swapped, answer, other)))
    assert proof.failed == ["labels"]
    assert proof.checks[1].detail == f"PyTorch's answer {labels[answer]!r} is called {labels[other]!r}"
    proof = verified(forged(manifest=partial(swapped, other, another)))  # no answer of the evidence among them
    assert proof.failed == ["labels"]
    assert proof.checks[1].detail == "their names or their order changed since it was exported"


def test_a_graph_of_another_number_of_classes(forged: Forge) -> None:
    def fewer(evidence: Evidence) -> Evidence:
        images = tuple(replace(image, logits=logits_text(image.reference[:4])) for image in evidence.images)
        return replace(evidence, images=images)

    proof = verified(forged(evidence=fewer))
    assert proof.failed == ["runs"]
    assert proof.checks[-1].detail == "the graph gives (2, 5), PyTorch gave (2, 4) (images, classes)"


def test_an_image_that_is_none(forged: Forge) -> None:
    def broken(evidence: Evidence) -> Evidence:
        first, *others = evidence.images
        return replace(evidence, images=(replace(first, file=in_base64(b"no image")), *others))

    with pytest.raises(ManifestError, match=r"forged\.onnx: evidence\.images\[0\]\.file: it is text, not an image"):
        verified(forged(evidence=broken))


class TestBelowFloat32:
    """Under the rule "decisions" answers count, where PyTorch's has a margin."""

    def as_decisions(self, unit: float, evidence: Evidence, **changes: Any) -> Evidence:
        limits = tuple(replace(limit, unit=unit, units=1.0) for limit in evidence.limits)
        return replace(evidence, rule="decisions", limits=limits, min_agreement=0.95, **changes)

    def test_answers(self, forged: Forge) -> None:
        path = forged(weights=lambda old: old * 1.001, evidence=partial(self.as_decisions, 1e-3, max_noise=0.02))
        proof = verified(path)
        assert [check.name for check in proof.checks[3:]] == ["finite", "decision", "batching", "noise"]
        assert proof.passed
        assert proof.checks[4].detail == "same top-1 on 1 of 1 photos, ties not counted"

    def test_another_answer(self, forged: Forge) -> None:
        path = forged(weights=lambda old: -old, evidence=partial(self.as_decisions, 1e-3))
        assert verified(path).failed == ["decision"]
        path = forged(weights=lambda old: -old, evidence=partial(self.as_decisions, 1e3))  # all are ties
        assert verified(path).passed

    def test_noise_and_broken_answers(self, forged: Forge) -> None:
        path = forged(weights=lambda old: old * 1.2, evidence=partial(self.as_decisions, 1e3, max_noise=0.001))
        assert verified(path).failed == ["noise"]
        path = forged(weights=lambda old: old * np.nan, evidence=partial(self.as_decisions, 1e3))
        assert "finite" in verified(path).failed


def test_one_output_decides_between_two() -> None:
    head = Head(("no", "yes"), "sigmoid", 1)
    assert [answer(head, np.array([value])) for value in (2.0, -1.0)] == ["yes", "no"]
    head = replace(head, activation="none")
    assert [answer(head, np.array([value])) for value in (0.7, 0.2)] == ["yes", "no"]


def test_of_a_model_that_is_open(tiny: Path, forged: Forge) -> None:
    """Whatever its options are: images are read as PyTorch read them."""
    options = ImageOptions(apply_exif=False, decode="fast", max_pixels=10)
    assert prove(Classifier(tiny, device="cpu", image_options=options, labels=list("abcde"))).passed
    assert require_proof(Classifier(tiny, device="cpu")).passed
    with pytest.raises(ProofError, match=r"does not give PyTorch's answers here \(cpu\): logits: "):
        require_proof(Classifier(forged(weights=lambda old: old * 1.001), device="cpu"))


class TestTheUsersOwnAnswers:
    @pytest.fixture
    def mine(self, tiny: Path, photos: Path, tmp_path: Path) -> Path:
        path = tmp_path / "mine.jsonl"
        rows = [
            {"image": str(photos / name), "logits": Classifier(tiny, device="cpu").logits([photos / name])[0].tolist()}
            for name in ("coffee.png", "rocket.jpg")
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def test_they_join_the_checks(self, tiny: Path, mine: Path) -> None:
        proof = torchless.verify(tiny, device="cpu", expect=mine)
        assert proof.passed
        assert proof.checks[-1].name == "expected"
        assert f"against PyTorch's recorded answers on 2 images and your own in {mine};" in str(proof)

    def test_without_evidence(self, changed: Callable[..., Path], mine: Path, tiny: Path) -> None:
        bare = changed(manifest=read_artifact(tiny).manifest.to_json())
        proof = torchless.verify(bare, device="cpu", expect=mine)
        assert [check.name for check in proof.checks] == ["seal", "expected"]
        assert proof.failed == ["seal"]  # the copy has none

    def test_on_the_command_line(self, command_line: Callable[..., tuple[int, str, str]], forged: Forge, mine) -> None:
        code, out, _ = command_line("torchless", "verify", forged(weights=lambda old: -old), "--expect", mine)
        assert code == 5
        assert "expected       FAILED" in out


class TestTheVerb:
    @pytest.fixture
    def run(self, command_line: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
        return partial(command_line, "torchless", "verify")

    def test_text(self, run, tiny: Path) -> None:
        code, out, err = run(tiny)
        assert (code, err) == (0, "")
        first, _, *rows, last = out.splitlines()
        assert first.endswith("proved against PyTorch's recorded answers on 2 images; PyTorch itself was not run")
        assert [row.split()[:2] for row in rows] == [
            [name, "ok"] for name in ("seal", "labels", "preprocessing", "logits", "batching", "decision")
        ]
        assert last.startswith("  on cpu, ONNX Runtime ")

    def test_json(self, run, forged: Forge) -> None:
        code, out, _ = run(forged(weights=lambda old: -old), "--json")
        found = json.loads(out)
        assert (code, found["proof"], found["passed"], found["images"]) == (5, "evidence", False, 2)
        assert [check["name"] for check in found["checks"] if not check["passed"]] == ["logits", "decision"]

    def test_no_evidence_and_no_manifest(self, run, changed: Callable[..., Path], tiny: Path) -> None:
        code, out, err = run(changed(manifest=read_artifact(tiny).manifest.to_json()))
        assert (code, out) == (3, "")
        assert "carries no evidence, so it cannot be proved without PyTorch; export it again, or, where" in err
        assert err.endswith("--rebuild\n")
        assert run(changed(manifest=""))[0] == 3
        with pytest.raises(ManifestMissingError, match="has no manifest, so nothing in it can be proved"):
            verified(changed(manifest=""))

    def test_wrong_usage_and_no_gpu(self, run, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert run(tiny, "--recursive")[::2] == (2, "error: --recursive goes with --images\n")
        monkeypatch.setattr("torchless.engine.cuda.driver_problem", lambda index: "no NVIDIA driver is installed")
        assert run(tiny, "--device", "cuda")[0] == 4
        assert run(tiny.with_name("none.onnx"))[0] == 3
