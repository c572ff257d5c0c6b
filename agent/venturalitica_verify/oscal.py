"""Does the OSCAL of a bundle say what its evidence says? A schema sees the form of a document and not its truth: a
finding whose state was turned, or that points at another control's observation, is valid OSCAL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID, uuid5

from venturalitica_verify.outcome import Broken
from venturalitica_verify.strict import read_json

RESULTS, PLAN = "assessment-results.oscal.json", "poam.oscal.json"
_SPACE = UUID("d5d7a2c0-4f3b-5e0a-9c55-6b7f3f0f1c11")  # what the UUIDs of all evidence are derived in (RFC 9562, v5)
_TO_DO = frozenset({"fail", "warn", "error"})
_OPEN = _TO_DO | {"inconclusive", "waived"}

Node = Mapping[str, Any]


def check_oscal(files: Mapping[str, bytes], evidence: Node) -> int:
    """How many findings the documents tell as the evidence does; raises Broken at the first that they don't.

    Args:
        evidence: the content of `evidence.json`.
    """
    findings = {finding["control"]: finding for finding in evidence["verdict"]["findings"]}
    status = {control: finding["status"] for control, finding in findings.items()}
    names = _Names(str(evidence["audit_id"]), findings)
    document = _document(files, RESULTS, "assessment-results")
    (result,) = document["results"]
    _same("the UUID", document["uuid"], names.of("assessment-results"))
    _same("the UUID", result["uuid"], names.of("result"))
    _same("the result", result["title"], f"Audit {evidence['audit_id']}: {evidence['verdict']['status']}")
    about = {"status": evidence["verdict"]["status"], "audit-id": evidence["audit_id"]}
    about |= {"policy-digest": evidence["policy"]["digest"]}
    for name, value in about.items():
        _same(f"the property {name}", _prop(result, name), value)
    for when in (document["metadata"]["last-modified"], result["start"], result["end"]):
        _same("the time", when, evidence["times"]["decided_at"])

    observations = names.sorted("observation", result.get("observations", ()), status, lambda _: True)
    risks = names.sorted("risk", result.get("risks", ()), status, _OPEN.__contains__)
    told = names.sorted("finding", result.get("findings", ()), status, lambda given: given != "skip")
    for control, observation in observations.items():
        _same(f"the verdict on {control}", _prop(observation, "verdict"), status[control])
        if measured := findings[control].get("measurement"):
            value = _prop(observation, "value")
            if value is None or not _equal(value, measured["value"]):
                raise Broken(f"{RESULTS} gives {control} the value {value}, and the evidence {measured['value']}")
    for control, finding in told.items():
        passed, state = status[control] == "pass", finding["target"]["status"]
        _same(f"the state of {control}", state["state"], "satisfied" if passed else "not-satisfied")
        _same(f"the reason of {control}", state["reason"], status[control])
        _same(f"the verdict on {control}", _prop(finding, "verdict"), status[control])
        names.check_links(finding, control, with_risk=control in risks)
    for control, risk in risks.items():
        waived = status[control] == "waived"
        _same(f"the risk of {control}", risk["status"], "deviation-approved" if waived else "open")
    _check_plan(files, names, status)
    return len(told)


def _check_plan(files: Mapping[str, bytes], names: _Names, status: Mapping[str, str]) -> None:
    needed = any(given in _TO_DO for given in status.values())
    if needed != (PLAN in files):
        raise Broken(
            f"{PLAN} {'is missing' if needed else 'is there'}, and {'something' if needed else 'nothing'} is open"
        )
    if not needed:
        return
    plan = _document(files, PLAN, "plan-of-action-and-milestones")
    names.sorted("observation", plan.get("observations", ()), status, _OPEN.__contains__)
    names.sorted("risk", plan.get("risks", ()), status, _OPEN.__contains__)
    for control, item in names.sorted("item", plan["poam-items"], status, _OPEN.__contains__).items():
        names.check_links(item, control, with_risk=True)


class _Names:
    """The UUIDs that everything in one audit's documents must have: they follow from the audit's id."""

    def __init__(self, audit_id: str, controls: Mapping[str, object]) -> None:
        self._audit_id = audit_id
        self._controls = tuple(controls)

    def of(self, what: str) -> str:
        return str(uuid5(_SPACE, f"{self._audit_id} {what}"))

    def sorted(
        self, kind: str, nodes: Sequence[Node], status: Mapping[str, str], wanted: Callable[[str], bool]
    ) -> dict[str, Node]:
        """The nodes of a kind by their control: one for each that must have one, and no other."""
        owners = {self.of(f"{kind} {control}"): control for control in self._controls if wanted(status[control])}
        found: dict[str, Node] = {}
        for node in nodes:
            control = owners.get(node["uuid"])
            if control is None or control in found:
                raise Broken(f"the {kind} {node['uuid']} is of no control that must have one, or there twice")
            _same(f"the title of {control}", node["title"].partition(":")[0], status[control])
            found[control] = node
        if missing := sorted(set(owners.values()) - set(found)):
            raise Broken(f"there is no {kind} of {missing[0]}")
        return found

    def check_links(self, node: Node, control: str, *, with_risk: bool) -> None:
        seen = [link["observation-uuid"] for link in node["related-observations"]]
        _same(f"the observation of {control}", seen, [self.of(f"observation {control}")])
        risks = [link["risk-uuid"] for link in node.get("related-risks", ())]
        _same(f"the risk of {control}", risks, [self.of(f"risk {control}")] if with_risk else [])


def _document(files: Mapping[str, bytes], name: str, root: str) -> Node:
    if name not in files:
        raise Broken(f"there is no {name}")
    found = read_json(files[name], name)
    if not isinstance(found, dict) or set(found) != {root}:
        raise Broken(f"{name} is not one document of kind {root}")
    inside: Node = found[root]
    return inside


def _prop(node: Node, name: str) -> str | None:
    found = list(_props(node, name))
    if len(found) > 1:
        raise Broken(f"the property {name} is there twice")
    return found[0] if found else None


def _props(node: Node, name: str) -> Iterator[str]:
    yield from (prop["value"] for prop in node.get("props", ()) if prop["name"] == name)


def _equal(told: str, value: object) -> bool:
    """JSON has no number for infinities and NaN: there they are strings, with a spelling of their own."""
    return repr(float(told)) == repr(float(str(value)))


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise Broken(f"{what} in OSCAL is {found!r}, and by the evidence {expected!r}"[:300])
