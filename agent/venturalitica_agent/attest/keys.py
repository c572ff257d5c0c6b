"""The service's key in its folder: made on the first start, replaced by `key rotate`. Old public keys stay for ever,
because old evidence needs them; old private keys don't, because nobody does.

    signing.pem          the private key and its public one, mode 0600
    next.pem             the same of a key that is about to take its place: a rotation that was interrupted goes on
    public/<key id>.pub  every public key of this folder
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from venturalitica_agent.attest.sign import FileSigner, Signer, key_id, new_key
from venturalitica_agent.errors import ConfigError

_PUBLIC = "-----BEGIN PUBLIC KEY-----"


class Keys:
    """The keys in one folder. Several processes may work with it at a time.

    Args:
        elsewhere: what signs instead of a key in the folder, which then keeps public keys only.

    Every method raises ConfigError when the folder can't be used, or when others may read a private key.
    """

    def __init__(self, folder: Path, elsewhere: Signer | None = None) -> None:
        self.folder = folder
        self._elsewhere = elsewhere

    @property
    def exist(self) -> bool:
        """Whether there is something to sign with, so that asking for it makes no new key."""
        return self._elsewhere is not None or (self.folder / "signing.pem").exists()

    def current(self) -> str:
        """The public key that is signed with now, as PEM; the pair is made where there is none."""
        if self._elsewhere is not None:
            self._keep(self._elsewhere.public_key)
            return self._elsewhere.public_key
        return self._pair("signing.pem")[1]

    def signer(self) -> Signer:
        """What signs now."""
        if self._elsewhere is not None:
            self._keep(self._elsewhere.public_key)
            return self._elsewhere
        private, public = self._pair("signing.pem")
        try:
            return FileSigner(private, public)
        except (ValueError, TypeError) as error:
            raise _not_ours(self.folder / "signing.pem") from error

    def next(self) -> str:
        """The public key of the pair that is to take the place of the current one; made where there is none."""
        if self._elsewhere is not None:
            raise ConfigError(
                "the key that signs is not kept here",
                subject=str(self.folder),
                remedy="make a new one where it is kept, then change `signing.command` and `signing.public_key`",
            )
        return self._pair("next.pem")[1]

    def take_next(self) -> None:
        """Sign with the next pair from now on; the private key of the present one is gone then."""
        (self.folder / "next.pem").replace(self.folder / "signing.pem")
        _flush(self.folder)

    def public(self) -> Mapping[str, str]:
        """Every public key that was ever made here, as PEM by key id; empty before the first start."""
        return {path.stem: path.read_text(encoding="ascii") for path in sorted((self.folder / "public").glob("*.pub"))}

    def _pair(self, name: str) -> tuple[bytes, str]:
        path = self.folder / name
        try:
            if not path.exists():
                self._make(path)
            mode = path.stat().st_mode
            text = path.read_text(encoding="ascii")
            public = text[text.index(_PUBLIC) :]
            self._keep(public)
        except OSError as error:
            raise _unusable(error, path) from error
        except ValueError as error:
            raise _not_ours(path) from error
        if stat.S_IMODE(mode) & 0o077:
            raise ConfigError(
                "other users may read the key that evidence is signed with",
                subject=str(path),
                remedy=f"chmod 600 {path}; if somebody may have read it, then `venturalitica-agent key rotate`",
            )
        return text[: text.index(_PUBLIC)].encode(), public

    def _keep(self, public: str) -> None:
        """Have a public key among those that stay for ever."""
        kept = self.folder / "public" / f"{key_id(public)}.pub"
        try:
            if not kept.exists():
                self._make_folder()
                _write(kept, public.encode(), 0o644)
        except OSError as error:
            raise _unusable(error, kept) from error

    def _make_folder(self) -> None:
        (self.folder / "public").mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)

    def _make(self, path: Path) -> None:
        self._make_folder()
        private, public = new_key()
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        _write(draft, private + public.encode(), 0o600)
        # A link, unlike a rename, doesn't take the place of a key that another process made meanwhile.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
        draft.unlink()
        _flush(self.folder)


def _unusable(error: OSError, path: Path) -> ConfigError:
    return ConfigError(
        f"the key that evidence is signed with can't be read or made: {error.strerror}",
        subject=str(error.filename or path),
        remedy="let the user of the service read and write this folder",
    )


def _not_ours(path: Path) -> ConfigError:
    return ConfigError(
        "this is not a key pair that was made here",
        subject=str(path),
        remedy="put the file back from a copy; or remove it, and a new key is made: what is in `public/` stays",
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    """A new file, whole and on the disk; one of the same name that is there already stays."""
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
