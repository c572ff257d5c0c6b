"""The two files of an export that are for people: what is in the archive and how to check it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from venturalitica_agent.logging import clean

Index = Mapping[str, Any]

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1a1a1a;"
    "background:#fff}table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;"
    "border-bottom:1px solid #bbb;vertical-align:top;overflow-wrap:anywhere}"
)


def read_me(index: Index) -> str:
    """What an auditor reads first."""
    verdicts = [verdict for run in index["runs"] for verdict in run["verdicts"]]
    missing = [verdict for verdict in verdicts if verdict["problem"]]
    lines = [
        "Evidence of audits of training runs, exported by venturalitica-agent.",
        "",
        f"scope             {_scope(index['scope'])}",
        f"runs              {len(index['runs'])}",
        f"verdicts          {len(verdicts)}: {_counted(verdicts)}",
        f"missing           {len(missing)}" + (" (index.json says which and why)" if missing else ""),
    ]
    if index["scope"] == {"everything": True}:
        lines.append(f"without verdict   {len(index['without_verdict'])} runs (index.json says why)")
    lines += [
        "",
        "index.html        a table of the verdicts, with links to their reports",
        "index.json        the same for machines",
        "runs/             the evidence of each verdict, as it was on its run: STORE/RUN/venturalitica/POLICY/AUDIT/",
        "log/              the service's append-only log (C2SP tlog-tiles), and the public keys that it named",
        "SHA256SUMS        digests of every file: sha256sum --check SHA256SUMS",
        "",
        "To check it without trusting who made it, get the service's public key on another way, and then:",
        "",
        "    pip install venturalitica-verify      # a folder of the source: verify/",
        "    venturalitica-verify THIS.zip --key trusted.pub",
        "",
        "A pass says that these measurements on these data meet these thresholds, and nothing about the law.",
        "",
    ]
    return "\n".join(lines)


def contents_page(index: Index) -> str:
    """A table of what is in the archive, with links into it."""
    rows = "".join(_row(run, verdict) for run in index["runs"] for verdict in run["verdicts"])
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Run", "Experiment", "Policy", "Status", "Evidence"))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Evidence</title><style>{_STYLE}</style>'
        f"</head>\n<body><main><h1>Evidence</h1>\n<p>Scope: {escape(_scope(index['scope']))}. "
        'How to check it is said in <a href="README.txt">README.txt</a>.</p>\n'
        f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></main></body></html>\n"
    )


def _row(run: Index, verdict: Index) -> str:
    if verdict["problem"]:
        where = escape(f"missing: {clean(verdict['problem'])}")
    else:
        where = f'<a href="{escape(verdict["folder"], quote=True)}/report.html">report</a>'
    name = f"{clean(run['name'])} ({run['run_id']})"
    words = (name, clean(run["experiment"]), f"{verdict['policy']} {verdict['version']}", verdict["status"])
    return "<tr>" + "".join(f"<td>{escape(word)}</td>" for word in words) + f"<td>{where}</td></tr>\n"


def _scope(scope: Index) -> str:
    if scope == {"everything": True}:
        return "everything"
    told = {name: ", ".join(value) if isinstance(value, list) else value for name, value in scope.items()}
    return clean("; ".join(f"{name} {value}" for name, value in told.items()))


def _counted(verdicts: list[Index]) -> str:
    statuses = [verdict["status"] for verdict in verdicts]
    return ", ".join(f"{statuses.count(status)} {status}" for status in sorted(set(statuses))) or "none"
