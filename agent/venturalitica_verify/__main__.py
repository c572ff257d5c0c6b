"""`python -m venturalitica_verify PATH… [--key FILE]… [--tsa FILE]… [--log FOLDER] [--json]`"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from venturalitica_verify.archive import is_archive, verify_archive
from venturalitica_verify.outcome import Check, document, exit_code, line, printable
from venturalitica_verify.paths import verify_log, verify_path


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m venturalitica_verify",
        description="Checks evidence offline. Exit codes: 0 all is ok, 1 something is not what was attested, 2 usage, "
        "3 something that is needed can't be checked.",
    )
    parser.add_argument(
        "path", nargs="*", type=Path, help="a folder of evidence, or one that holds some, or an exported archive"
    )
    parser.add_argument("--key", action="append", default=[], type=Path, help="a public key that you trust, as PEM")
    parser.add_argument(
        "--tsa", action="append", default=[], type=Path, help="certificates that you trust for the time"
    )
    parser.add_argument("--log", type=Path, help="a copy of the log that the service published")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    given = parser.parse_args(arguments)
    try:
        keys, authorities = ([path.read_bytes() for path in paths] for paths in (given.key, given.tsa))
    except OSError as error:
        parser.error(f"{error.filename}: {error.strerror}")
    archives = [path for path in given.path if is_archive(path)]
    for path in (*given.path, *([given.log] if given.log else [])):
        if not path.is_dir() and path not in archives:
            parser.error(f"{path} is neither a folder nor an archive")
    found: dict[str, list[Check]] = {}
    for path in given.path:
        if path in archives:
            found |= verify_archive(path, keys, authorities)
        else:
            found |= verify_path(path, keys, given.log, authorities)
    if given.log and not given.path:
        found = verify_log(given.log, keys)
    if not found:
        parser.error(f"there is no evidence in {', '.join(map(str, given.path)) or 'nothing: name a folder'}")
    code = exit_code(check for checks in found.values() for check in checks)
    if given.json:
        sys.stdout.write(json.dumps(document(found, code), indent=2, ensure_ascii=False) + "\n")
    else:
        for folder, checks in found.items():
            sys.stdout.write("\n".join([printable(folder), *map(line, checks), ""]))
    return code


if __name__ == "__main__":
    sys.exit(main())
