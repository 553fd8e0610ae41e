"""A Classifier in other processes, threads and event loops."""

import asyncio
import copy
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
from tests.conftest import write_with_head
from tests.data import LABELS
from tests.surroundings import PATIENCE_S

from torchless import Classifier, FileDescription, ImageOptions, errors
from torchless.engine import session
from torchless.errors import ArtifactDamagedError, ArtifactNotFoundError, TorchlessError
from torchless.model.artifact import read_artifact
from torchless.model.onnxfile import HeldFiles, read_onnx
from torchless.model.preprocessing import Resize

IMAGE = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)


def sent(classifier: Classifier) -> Classifier:
    return pickle.loads(pickle.dumps(classifier))


@pytest.fixture
def model(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(tiny, tmp_path / "model.onnx"))


def test_it_travels_without_its_weights_and_gives_the_same_answers(model: Path) -> None:
    classifier = Classifier(model, device="cpu", threads=1)
    data = pickle.dumps(classifier)
    assert len(data) < 1000
    twin = pickle.loads(data)
    assert repr(twin) == f"<Classifier {model}: not opened here yet>"
    np.testing.assert_array_equal(twin.logits([IMAGE]), classifier.logits([IMAGE]))
    assert repr(twin) == repr(classifier)
    assert (twin.threads, twin.device, twin.labels) == (1, "cpu", LABELS)
    np.testing.assert_array_equal(sent(sent(twin)).logits([IMAGE]), classifier.logits([IMAGE]))


def test_its_options_travel_with_it(model: Path, changed: Callable[..., Path], tmp_path: Path) -> None:
    write_with_head(tmp_path / "multi.onnx", labels=LABELS, thresholds=(0.5,) * 5)
    description = FileDescription(resize=Resize(mode="short_side", size=(40,)), mean=(0.4,) * 3, std=(0.2,) * 3)
    for classifier in (
        Classifier(model, device="cpu", labels=list("abcde")),
        Classifier(tmp_path / "multi.onnx", device="cpu", threshold=0.01),
        Classifier(changed(manifest=""), device="cpu", labels=list("vwxyz"), description=description),
    ):
        assert sent(classifier).classify(IMAGE) == classifier.classify(IMAGE)
    with pytest.raises(errors.ImageTooLargeError):
        sent(Classifier(model, device="cpu", image_options=ImageOptions(max_pixels=10))).classify(IMAGE)


def test_a_relative_path_is_found_from_another_folder(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    classifier = Classifier("model.onnx", device="cpu")
    monkeypatch.chdir("/")
    assert sent(classifier).classify(IMAGE) == classifier.classify(IMAGE)


def test_weights_in_a_file_of_their_own_are_compared_too(pair: Path) -> None:
    assert sent(Classifier(pair, device="cpu", threads=1)).classify(IMAGE).ok
    data = pickle.dumps(Classifier(pair, device="cpu"))
    weights = next(path for path in pair.parent.iterdir() if path != pair)
    weights.write_bytes(weights.read_bytes()[::-1])
    with pytest.raises(
        ArtifactDamagedError, match=f"{weights} on .* is not the file that the Classifier was opened with"
    ):
        pickle.loads(data).classify(IMAGE)


def test_another_file_on_the_other_side_is_refused_where_it_is_used(model: Path, pixels: Path) -> None:
    """Not while it is unpacked: multiprocessing's Pool would wait for ever."""
    data = pickle.dumps(Classifier(model, device="cpu"))
    shutil.copy(pixels, model)
    twin = pickle.loads(data)
    with pytest.raises(ArtifactDamagedError, match=r"is not the file that .* \(SHA-256 \w{12}…, not \w{12}…\)"):
        twin.classify(IMAGE)
    model.unlink()
    with pytest.raises(ArtifactNotFoundError, match=f"travels without its file, and there is no {model} on .*: put it"):
        twin.labels  # noqa: B018


def test_a_file_that_was_replaced_is_not_sent_as_if_it_were_the_same(model: Path, pixels: Path) -> None:
    classifier = Classifier(model, device="cpu")
    pickle.dumps(classifier)
    shutil.copy(pixels, model)
    for _ in range(2):
        with pytest.raises(ArtifactDamagedError, match="was replaced or removed after this Classifier opened it"):
            pickle.dumps(classifier)
    assert classifier.classify(IMAGE).ok


def test_what_was_checked_in_memory_is_checked_in_memory_again(model: Path, pixels: Path) -> None:
    """As with a signature: what is loaded is what was compared."""
    classifier = Classifier.of(read_artifact(read_onnx(model, held=HeldFiles(model.read_bytes()))), device="cpu")
    twin = sent(classifier)
    assert twin.file.held.content == model.read_bytes()
    assert twin.classify(IMAGE) == classifier.classify(IMAGE)
    shutil.copy(pixels, model)
    other = sent(Classifier.of(classifier.artifact, device="cpu", threads=1))
    with pytest.raises(ArtifactDamagedError, match="is not the file"):
        other.classify(IMAGE)


def test_the_same_one_is_opened_once_in_a_process(model: Path) -> None:
    """A pool sends it along with every task."""
    data = pickle.dumps(Classifier(model, device="cpu"))
    one, other = pickle.loads(data), pickle.loads(data)
    assert one.artifact is other.artifact


def test_copies_share_the_model(model: Path) -> None:
    classifier = Classifier(model, device="cpu")
    for twin in (copy.copy(classifier), copy.deepcopy(classifier), copy.deepcopy([classifier])[0]):
        assert twin.artifact is classifier.artifact
        assert twin.classify(IMAGE) == classifier.classify(IMAGE)
    assert copy.copy(sent(classifier)).classify(IMAGE) == classifier.classify(IMAGE)


class Own(Classifier):
    extra = 1


def test_a_class_of_the_users_keeps_what_it_added(model: Path) -> None:
    own = Own(model, device="cpu")
    own.extra = 2
    twin = sent(own)
    assert (type(twin), twin.extra) == (Own, 2)
    assert twin.classify(IMAGE) == own.classify(IMAGE)
    assert not hasattr(twin, "nothing")


def test_functions_that_hold_one_travel_as_spark_dask_and_ray_send_them(model: Path) -> None:
    classifier = Classifier(model, device="cpu")
    label = pickle.loads(cloudpickle.dumps(lambda image: classifier.classify(image).predictions[0].label))
    assert label(IMAGE) == classifier.classify(IMAGE).predictions[0].label


@pytest.mark.parametrize("kind", [kind for kind in vars(errors).values() if isinstance(kind, type)])
def test_errors_come_back_as_they_are(kind: type) -> None:
    if issubclass(kind, TorchlessError):
        back = pickle.loads(pickle.dumps(kind("what, with which file, what to do")))
        assert (type(back), str(back)) == (kind, "what, with which file, what to do")


POOLED = """
import multiprocessing, os, sys
from torchless import Classifier
from torchless.errors import ArtifactDamagedError, ImageReadError
method, model, *photos = sys.argv[1:]
classifier = Classifier(model, device="cpu")
with multiprocessing.get_context(method).Pool(1) as pool:
    assert pool.map(classifier.classify, photos) == [classifier.classify(photo) for photo in photos]
    try:
        pool.apply(classifier.classify, ["none.jpg"])
    except ImageReadError as error:
        print(error)
    os.rename(model, model + ".moved")
    try:
        pool.apply(classifier.classify, photos[:1])
    except ArtifactDamagedError as error:
        print(error)
"""


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_pool_of_processes(model: Path, photos: Path, method: str) -> None:
    """In a program of its own: one that is forked while a test's server has threads may have a lock of theirs."""
    code = [sys.executable, "-W", "ignore", "-c", POOLED, method, str(model)]
    code += [str(photos / name) for name in ("coffee.png", "rocket.jpg")]
    ended = subprocess.run(code, timeout=PATIENCE_S, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    missing, moved = ended.stdout.splitlines()
    assert "none.jpg" in missing
    assert "replaced or removed" in moved


FORKED = """
import os, sys
import numpy as np
from torchless import Classifier
from torchless.engine import session
session.available_cpus = lambda: 2
model, threads = sys.argv[1], int(sys.argv[2])
inherited = Classifier(model, device="cpu", threads=threads)
image = np.arange(7500, dtype=np.uint8).reshape(50, 50, 3)
before = inherited.classify(image)
if pid := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
own = Classifier(model, device="cpu", threads=2)  # its threads get the handles of those that are gone
same_session = id(inherited._session.onnx)
assert inherited.classify(image) == own.classify(image) == before
assert (id(inherited._session.onnx) == same_session) == (threads == 1)
del inherited
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_process_goes_on_and_ends(model: Path, threads: int) -> None:
    """ONNX Runtime's threads are not there: it would wait for them, when it runs and when it is freed."""
    code = [sys.executable, "-W", "ignore", "-c", FORKED, str(model), str(threads)]
    ended = subprocess.run(code, timeout=PATIENCE_S, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_forked_process_refuses_a_file_that_was_replaced(
    model: Path, pixels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "available_cpus", lambda: 2)
    classifier = Classifier(model, device="cpu", threads=2)
    shutil.copy(pixels, model)
    monkeypatch.setattr(classifier._session, "pid", 1)
    with pytest.raises(ArtifactDamagedError, match="was replaced or removed"):
        classifier.classify(IMAGE)


def test_a_forked_process_has_no_gpu(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = Classifier(model, device="cpu")
    monkeypatch.setattr(classifier._session, "pid", 1)
    monkeypatch.setattr(classifier._session, "device", "cuda:0")
    with pytest.raises(errors.InferenceError, match="a forked process cannot use: start processes with spawn"):
        classifier.classify(IMAGE)


def test_many_threads_and_event_loops_share_one(model: Path) -> None:
    classifier = Classifier(model, device="cpu")
    twin, images = sent(classifier), [np.roll(IMAGE, number, axis=1) for number in range(12)]
    wanted = [classifier.classify(image) for image in images]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(twin.classify, images)) == wanted
        assert [list(rows) for rows in pool.map(classifier.classify_many, [images] * 4)] == [wanted] * 4

    async def together() -> list:
        return await asyncio.gather(*(asyncio.to_thread(classifier.classify, image) for image in images))

    assert asyncio.run(together()) == wanted


JOBLIB = """
import sys
from joblib import Parallel, delayed
from torchless import Classifier
classifier = Classifier(sys.argv[1], device="cpu")
rows = Parallel(n_jobs=2)(delayed(classifier.classify)(path) for path in sys.argv[2:])
assert rows == [classifier.classify(path) for path in sys.argv[2:]]
"""


def test_joblib(model: Path, photos: Path) -> None:
    code = [sys.executable, "-c", JOBLIB, str(model), str(photos / "coffee.png"), str(photos / "rocket.jpg")]
    ended = subprocess.run(code, timeout=PATIENCE_S, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
