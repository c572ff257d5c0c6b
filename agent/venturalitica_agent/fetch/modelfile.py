"""Which file of a folder is the model where no `MLmodel` says it, and whether a file is what it is called. By suffix
and first bytes alone: reading more of an untrusted model is the sandbox's work."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from venturalitica_agent.errors import UntrustedInput
from venturalitica_agent.fetch.mlmodel import ModelDescription
from venturalitica_agent.fetch.problems import Unfit, listed
from venturalitica_agent.strict_yaml import shown

# suffix -> flavor, format
_KINDS = {
    ".joblib": ("sklearn", "joblib"),
    ".pkl": ("sklearn", "joblib"),
    ".pickle": ("sklearn", "joblib"),
    ".skops": ("sklearn", "skops"),
    ".ubj": ("xgboost", "ubj"),
    ".xgb": ("xgboost", "xgb"),
    ".json": ("xgboost", "json"),
    ".lgb": ("lightgbm", "lgb"),
    ".txt": ("lightgbm", "lgb"),
    ".onnx": ("onnx", "onnx"),
}
# Many files that are no models have these suffixes, so here the first bytes decide.
_TELLING = {".json": re.compile(rb'\s*\{\s*"learner"\s*:'), ".txt": re.compile(rb"tree\r?\n")}

_HEAD = 64
_MAX_UNPACKED = 4 << 30
_MAX_MEMBERS = 50_000
_ZIP = b"PK\x03\x04"
_PACKED = {b"\x1f\x8b": "gzip", b"7z\xbc\xaf\x27\x1c": "7z", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK": "zip"}
_JOBLIB_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x5d\x00", b"\x04\x22\x4d\x18")  # source: joblib.compressor


def find_model_file(folder: Path, names: Collection[str]) -> ModelDescription:
    """The one model file among `names` (relative to `folder`); `check_file` then says whether it may be handed on.

    Raises:
        Unfit: there is none, or there are several.
    """
    candidates = [name for name in sorted(names) if _may_be_model(folder / name)]
    if len(candidates) == 1:
        flavor, form = _KINDS[_suffix(candidates[0])]
        return ModelDescription(flavor, candidates[0], form)
    if candidates:
        raise Unfit(
            f"{len(candidates)} files of the model could be the one to audit: {listed(candidates)}",
            remedy="log each model as an artifact of its own, or keep one model file in it",
            code="ambiguous",
        )
    raise Unfit(
        "there is neither an MLmodel file nor a model file that we read "
        f"(there is {listed(sorted(names)) or 'nothing'})",
        remedy="log it as an MLflow model, or as one file: .joblib or .pkl (scikit-learn), .skops, .ubj or .json "
        "(XGBoost), .txt (LightGBM) or .onnx",
        code="missing",
    )


def check_file(folder: Path, names: Collection[str], description: ModelDescription) -> None:
    """Refuse a model file that is absent, or that isn't what its description calls it, by its first bytes."""
    if description.file not in names:
        raise UntrustedInput(
            f"MLmodel names the file {shown(description.file)}, which is not among the model's files",
            subject="MLmodel",
            remedy="log the model again",
        )
    path = folder / description.file
    head = _head(path)
    match description.format:
        case "pickle" | "cloudpickle":
            fine = _is_pickle(head)
        case "joblib":
            fine = _is_pickle(head) or _is_zlib(head) or head.startswith(_JOBLIB_PACKED)
        case "skops":
            fine = head.startswith(_ZIP)
        case "ubj" | "json":
            fine = head.lstrip()[:1] == b"{"
        case "lgb":
            fine = head.startswith(b"tree")
        case "onnx":
            fine = head.startswith(b"\x08")  # protobuf: ModelProto's first field, ir_version
        case _:
            fine = bool(head) and not head.startswith(tuple(_PACKED))
    if not fine:
        looks = next((f", it looks like {kind}" for magic, kind in _PACKED.items() if head.startswith(magic)), "")
        raise UntrustedInput(
            f"the model file {shown(description.file)} is not a {description.format} file{looks}",
            remedy="write the model again with its own library's function, and log that file as it is",
        )
    if description.format == "skops":
        _check_archive(path, description.file)


def _may_be_model(path: Path) -> bool:
    suffix = _suffix(path.name)
    return suffix in _KINDS and (suffix not in _TELLING or _TELLING[suffix].match(_head(path)) is not None)


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def _is_pickle(head: bytes) -> bool:
    return len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5


def _is_zlib(head: bytes) -> bool:
    return len(head) > 2 and head[0] == 0x78 and int.from_bytes(head[:2], "big") % 31 == 0  # source: RFC 1950, FCHECK


def _check_archive(path: Path, name: str) -> None:
    remedy = "write the model again with skops.io.dump"
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UntrustedInput(f"the model file {shown(name)} is a broken archive", remedy=remedy) from error
    unpacked = sum(m.file_size for m in members)
    if unpacked > _MAX_UNPACKED or len(members) > _MAX_MEMBERS:
        raise UntrustedInput(
            f"the model file {shown(name)} unpacks to {unpacked:,} bytes in {len(members):,} members", remedy=remedy
        )
