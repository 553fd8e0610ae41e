"""What to say where a model file should be and is not: files with names like it, or the command that makes it."""

import os
import re
import shlex
from difflib import get_close_matches
from pathlib import Path

_ARTIFACTS = Path("artifacts")  # where export writes by default
_SUFFIX = ".onnx"
_CHECKPOINTS = {".pt", ".pth", ".ckpt", ".safetensors", ".bin", ".tar"}
_NEAR, _SHOWN = 0.75, 3
_ELSEWHERE = re.compile(r"(?:(?P<scheme>[a-z][a-z0-9+.-]+):/|hf:)(?P<rest>.+)", re.IGNORECASE | re.DOTALL)
_FORM = re.compile(r"(\.int8|\.fp16|\.tuned|-in-graph)$")
_NAMES = re.compile(
    r"alexnet|googlenet|inception_v3|maxvit_t|mobilenet_v2|mobilenet_v3_(large|small)|vit_([bl]_(16|32)|h_14)"
    r"|convnext_(tiny|small|base|large)|densenet(121|161|169|201)|efficientnet_(b[0-7]|v2_[sml])|swin_(v2_)?[tsb]"
    r"|mnasnet(0_5|0_75|1_0|1_3)|regnet_(x|y)_(400mf|800mf|1_6gf|3_2gf|8gf|16gf|32gf)|regnet_y_128gf|squeezenet1_[01]"
    r"|resnet(18|34|50|101|152)|resnext(50_32x4d|101_32x8d|101_64x4d)|wide_resnet(50|101)_2|vgg(11|13|16|19)(_bn)?"
    r"|shufflenet_v2_x(0_5|1_0|1_5|2_0)"
)  # torchvision's classifiers, which is not installed where models run


def missing_model(file: Path) -> str:
    """One sentence for the user: there is no such file, and what to do."""
    if place := _ELSEWHERE.fullmatch(str(file)):
        name = f"{place['scheme']}://{place['rest']}" if place["scheme"] else str(file)  # a path has lost one of the //
        fetch = shlex.join(["torchless", "inspect", name])
        return f"here the model must be a file, not {name}; this fetches it and says where the file is: {fetch}"
    near = [shlex.quote(str(path)) for path in _near(file)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"make it with: {command_for(file)}"
    return f"there is no file {file}; {hint}"


def folder_for_model(folder: Path) -> str:
    """One sentence for the user who named a folder."""
    inside = sorted(_models_in(folder))[:_SHOWN]
    names = f"; name a file in it: {', '.join(shlex.quote(str(path)) for path in inside)}" if inside else ""
    return f"{folder} is a folder, not an ONNX file{names}"


def export_of(file: Path) -> str:
    """What to add to the message about a file that is no ONNX model: how one is made of a checkpoint."""
    if file.suffix not in _CHECKPOINTS:
        return "export or copy it again"
    return f"export it: {shlex.join(['torchless', 'export', 'MODEL', '--checkpoint', str(file)])}"


def instead_of(file: Path) -> str:
    """What to add to the message about a file that is quite another thing."""
    return export_of(file) if file.suffix in {_SUFFIX, *_CHECKPOINTS} else "name the .onnx file that export wrote"


def command_for(file: Path) -> str:
    """The command that writes exactly this file. What its name does not tell is in capitals: MODEL, IMAGES."""
    base, form = _parted(file.name)
    source = str(_source(file.with_name(f"{base}{_SUFFIX}")))
    match form:
        case ".int8":
            words = ["quantize", source, "--calibration", "IMAGES"]
        case ".fp16":
            words = ["quantize", source, "--precision", "fp16"]
        case ".tuned":
            words = ["tune", source, "--images", "IMAGES"]
        case _:
            words = ["export", base if _NAMES.fullmatch(base) else "MODEL"]
            words += ["--preprocess-in-graph"] * (form == "-in-graph")
    output = file if file.suffix == _SUFFIX else file.with_name(f"{file.name}{_SUFFIX}")
    return shlex.join(["torchless", *words, "--output", str(output)])


def _near(file: Path) -> list[Path]:
    """Those with the same name elsewhere; otherwise those with names like it, in its folder and in artifacts/. A name
    of torchvision's is no misspelling of another, and neither is one with other numbers.
    """
    found = [path for folder in dict.fromkeys((file.parent, _ARTIFACTS)) for path in _models_in(folder)]
    name = f"{file.name.removesuffix(_SUFFIX)}{_SUFFIX}"
    if same := [path for path in found if path.name == name]:
        return same
    base, form = _parted(name)
    if _NAMES.fullmatch(base):
        return []
    alike = {path.name for path in found if _parted(path.name)[1] == form and _numbers_agree(path.name, name)}
    ranked = get_close_matches(name, alike, _SHOWN, _NEAR)
    return [path for each in ranked for path in found if path.name == each][:_SHOWN]


def _numbers_agree(one: str, other: str) -> bool:
    """Whether the digits of one name are in the other: resnet5 may be resnet50, resnet19 is not."""
    digits = ["".join(re.findall(r"\d", _parted(name)[0])) for name in (one, other)]
    return digits[0] in digits[1] or digits[1] in digits[0]


def _parted(name: str) -> tuple[str, str]:
    """resnet50.int8.onnx → resnet50, .int8."""
    stem = name.removesuffix(_SUFFIX)
    form = _FORM.search(stem)
    return (stem[: form.start()], form[0]) if form is not None and form.start() else (stem, "")


def _models_in(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.suffix == _SUFFIX and not path.name.startswith(".")]
    except OSError:
        return []


def _source(file: Path) -> Path:
    """The float32 file: where it would be, or in artifacts/ if it is there."""
    kept = _ARTIFACTS / file.name
    return kept if not os.path.isfile(file) and os.path.isfile(kept) else file  # whose name may be too long for a file
