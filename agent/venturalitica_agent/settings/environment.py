"""Variables: the real environment first, then the `.env` beside agent.yaml. Nothing here changes `os.environ`."""

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
        self._dotenv = {name: value for name, value in _read_dotenv(self._file).items() if name not in self._real}

    def get(self, name: str) -> Variable | None:
        if name in self._real:
            return Variable(name, self._real[name], "the environment", self._cwd)
        if name in self._dotenv:
            return Variable(name, self._dotenv[name], str(self._file), self._file.parent)
        return None

    def credentials(self) -> dict[str, str]:
        """What `.env` gives to trackers and the real environment doesn't."""
        return {name: value for name, value in self._dotenv.items() if name.startswith(_CREDENTIALS)}

    def note_misspelt(self, known: list[str], mistakes: Mistakes) -> None:
        """Note variables of ours that are nobody's name but nearly one; others may belong to other programs."""
        for name in sorted({*self._real, *self._dotenv}):
            if not name.startswith(PREFIX) or name in known:
                continue
            near = nearest(name.removeprefix(PREFIX), [k.removeprefix(PREFIX) for k in known], cutoff=0.8)
            if near:
                what = f"the environment variable {name} sets nothing"
                mistakes.add(Mistake(0, 0, name, "", what, PREFIX + near))


def _read_dotenv(file: Path) -> dict[str, str]:
    if not file.exists():
        return {}
    content = read_file(file)
    if len(content) > MAX_BYTES:
        raise ConfigError("too large for a .env file", subject=str(file), remedy="keep only variables in it")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError("not UTF-8 text", subject=str(file), remedy="save it as UTF-8") from error
    # Without interpolation: a password may hold `$`.
    values = dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {name: value for name, value in values.items() if value}
