"""Variables: the real environment first, then systemd's credentials, then the `.env` beside agent.yaml.

Nothing here changes `os.environ`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from venturalitica_agent.errors import ConfigError
from venturalitica_agent.strict_yaml import MAX_BYTES, Mistake, Mistakes, nearest, read_file

PREFIX = "VENTURALITICA_"
_CREDENTIALS = ("MLFLOW_", "WANDB_", "AWS_")


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable: where it comes from, in words, and the folder that a relative path in it starts from."""

    name: str
    value: str
    origin: str
    folder: Path


class Variables:
    """Looks variables up; an empty one counts as unset, as compose files and units leave them."""

    def __init__(self, env: Mapping[str, str], cwd: Path, folder: Path) -> None:
        self._real = {name: value for name, value in env.items() if value}
        self._cwd = cwd
        self._file = folder / ".env"
        self._handed = Path(self._real["CREDENTIALS_DIRECTORY"]) if "CREDENTIALS_DIRECTORY" in self._real else None
        self._credentials = {n: v for n, v in _read_credentials(self._handed).items() if n not in self._real}
        known = {*self._real, *self._credentials}
        self._dotenv = {name: value for name, value in _read_dotenv(self._file).items() if name not in known}

    def get(self, name: str) -> Variable | None:
        if name in self._real:
            return Variable(name, self._real[name], "the environment", self._cwd)
        if name in self._credentials:
            return Variable(name, self._credentials[name], f"{self._handed}/{name}", self._cwd)
        if name in self._dotenv:
            return Variable(name, self._dotenv[name], str(self._file), self._file.parent)
        return None

    def credentials(self) -> dict[str, str]:
        """What files give to trackers and the real environment doesn't."""
        found = self._dotenv | self._credentials
        return {name: value for name, value in found.items() if name.startswith(_CREDENTIALS)}

    def note_misspelt(self, known: list[str], mistakes: Mistakes) -> None:
        """Note variables of ours that are nobody's name but nearly one; others may belong to other programs."""
        for name in sorted({*self._real, *self._credentials, *self._dotenv}):
            if not name.startswith(PREFIX) or name in known:
                continue
            near = nearest(name.removeprefix(PREFIX), [k.removeprefix(PREFIX) for k in known], cutoff=0.8)
            if near:
                what = f"the environment variable {name} sets nothing"
                mistakes.add(Mistake(0, 0, name, "", what, PREFIX + near))


def _read_credentials(folder: Path | None) -> dict[str, str]:
    """What `LoadCredential=` hands over: a file for each variable that bears its name; others are somebody else's."""
    if folder is None or not folder.is_dir():
        return {}
    files = [file for file in folder.iterdir() if file.name.startswith((PREFIX, *_CREDENTIALS))]
    return {file.name: value for file in sorted(files) if (value := _text_of(file, "a credential").strip())}


def _read_dotenv(file: Path) -> dict[str, str]:
    if not file.exists():
        return {}
    text = _text_of(file, "a .env file")
    # Without interpolation: a password may hold `$`.
    values = dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {name: value for name, value in values.items() if value}


def _text_of(file: Path, kind: str) -> str:
    content = read_file(file)
    if len(content) > MAX_BYTES:
        raise ConfigError(f"too large for {kind}", subject=str(file), remedy="keep only variables in it")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError("not UTF-8 text", subject=str(file), remedy="save it as UTF-8") from error
