"""Finds policy files and reads them, whatever their shape. A file that can't be read as a policy is an error, always:
a policy that silently holds no controls is a gate that is silently open."""

from __future__ import annotations

import re
from pathlib import Path

from venturalitica_agent.domain.policy import Policy
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.policy.oscal import OSCAL_ROOTS, read_flat, read_oscal
from venturalitica_agent.policy.rules import PolicyFile
from venturalitica_agent.policy.schema import read_native
from venturalitica_agent.strict_yaml import Fields, ListNode, MapNode, Mistake, Mistakes, parse, read_file

_SUFFIXES = (".yaml", ".yml", ".json")
_OTHERS = re.compile(r"waivers\.\w+|.*\.schema\.json")  # what lives beside policies and is read elsewhere


def parse_policy(content: bytes, file_name: str, *, shown_as: str = "") -> Policy:
    """The policy in `content`; `shown_as` is the path that messages name (default: `file_name`).

    Raises:
        InvalidDocument: with every mistake in the file.
    """
    mistakes = Mistakes(shown_as or file_name)
    file = PolicyFile(file_name, content)
    root = parse(content, mistakes)
    match root:
        case ListNode():
            policy = read_flat(root, file, mistakes)
        case MapNode() if any(key.text in OSCAL_ROOTS for key, _ in root.pairs):
            policy = read_oscal(Fields(root.pairs, root, mistakes), file)
        case MapNode():
            policy = read_native(Fields(root.pairs, root, mistakes), file)
        case _:
            what = "a policy must be a map of keys and values, or the SDK's flat list"
            mistakes.stop(Mistake(root.line, root.column, "", root.text, what))
    mistakes.raise_if_any()
    return policy


def load_policy(path: Path) -> Policy:
    """The policy in one file.

    Raises:
        ConfigError: the file is missing or unreadable; `InvalidDocument` with every mistake in it.
    """
    return parse_policy(read_file(path), path.name, shown_as=str(path))


def load_one_policy(folder_or_file: Path) -> Policy:
    """The only policy of a folder, or of one file.

    Raises:
        ConfigError: as `load_policies`, and where the folder holds several.
    """
    policies = load_policies(folder_or_file)
    if len(policies) > 1:
        found = ", ".join(policy.file_name for policy in policies)
        raise ConfigError(
            f"holds {len(policies)} policies: {found}", subject=str(folder_or_file), remedy="name one of the files"
        )
    return policies[0]


def load_policies(folder_or_file: Path) -> tuple[Policy, ...]:
    """Every policy of a folder and of its subfolders (one level), in the order of their paths; or of one file.

    Files are `*.yaml`, `*.yml` and `*.json` except `waivers.*` and `*.schema.json`; hidden files and folders (of
    editors, of mounted volumes) are left alone.

    Raises:
        ConfigError: nothing there, no policy there, files that aren't policies (all of them are told), or one id twice.
    """
    if not folder_or_file.is_dir():
        return (load_policy(folder_or_file),)
    files = policy_files(folder_or_file)
    if not files:
        raise ConfigError(
            "holds no policy file",
            subject=str(folder_or_file),
            remedy="put a policy (*.yaml, *.yml, *.json) into it or a subfolder, or run `venturalitica-agent init`",
        )
    policies: dict[Path, Policy] = {}
    errors: list[ConfigError] = []
    for file in files:
        try:
            policies[file] = load_policy(file)
        except ConfigError as error:
            errors.append(error)
    _raise_all(errors, folder_or_file)
    _refuse_equal_ids(policies)
    return tuple(policies.values())


def policy_files(folder_or_file: Path) -> list[Path]:
    """The files that `load_policies` reads, in their order.

    Raises:
        ConfigError: the folder can't be listed.
    """
    if not folder_or_file.is_dir():
        return [folder_or_file]
    folder = folder_or_file
    try:
        entries = _visible(folder)
        nested = [file for entry in entries if entry.is_dir() for file in _visible(entry)]
        files = [entry for entry in (*entries, *nested) if not entry.is_dir()]
    except OSError as error:
        remedy = "let this user read the folder"
        raise ConfigError(f"can't be listed: {error.strerror}", subject=str(folder), remedy=remedy) from error
    return sorted(f for f in files if f.suffix.lower() in _SUFFIXES and not _OTHERS.fullmatch(f.name.lower()))


def _visible(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]


def _raise_all(errors: list[ConfigError], folder: Path) -> None:
    if len(errors) == 1:
        raise errors[0]
    if errors:
        what = "\n".join([f"{len(errors)} files are not usable policies", *map(str, errors)])
        raise ConfigError(
            what, subject=str(folder), remedy="correct the files named above, or move them out of the folder"
        )


def _refuse_equal_ids(policies: dict[Path, Policy]) -> None:
    owner: dict[str, Path] = {}
    for file, policy in policies.items():
        first = owner.setdefault(policy.id, file)
        if first != file:
            raise ConfigError(
                f"two policies have the id {policy.id!r}: {first} and {file}",
                subject=policy.id,
                remedy="give one of them another id (in OSCAL files: another metadata title), or move it away",
            )
