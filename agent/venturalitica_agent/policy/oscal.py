"""Reads the SDK's policy files: OSCAL in the shapes found in the wild, and the flat list.

The containers of OSCAL (catalog, component, plan ...) are walked with the key list of each, so that a misspelt key
can't hide a control; a control is its `props`, and each prop is known or refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePath

from venturalitica_agent.domain.policy import Control, EvaluateWith, Policy
from venturalitica_agent.policy.props import AS_JSON, NAMESPACE, read_props
from venturalitica_agent.policy.rules import (
    PolicyFile,
    control_id,
    day,
    line_of_text,
    policy_id,
    policy_version,
    read_on_change,
    retention,
    slug,
)
from venturalitica_agent.settings.selector import read_selector
from venturalitica_agent.strict_yaml import (
    Fields,
    ListNode,
    MapNode,
    Mistakes,
    Node,
    Scalar,
    read_fields,
    shown,
    understand,
)

OSCAL_ROOTS = ("component-definition", "catalog", "profile", "assessment-plan")

# What OSCAL 1.2 allows in each container, and what the SDK's guides add (a plan's control-implementations, titles).
_KEYS = {
    "component-definition": "uuid metadata components capabilities back-matter",
    "component": "uuid type title description purpose props links responsible-roles protocols"
    " control-implementations remarks",
    "capability": "uuid name title description props links incorporates-components control-implementations remarks",
    "control-implementation": "uuid source title description props links set-parameters implemented-requirements",
    "implemented-requirement": "uuid control-id title description props links set-parameters responsible-roles"
    " statements remarks",
    "catalog": "uuid metadata params controls groups back-matter",
    "group": "id class title params props links parts groups controls",
    "control": "id class title description params props links parts controls",
    "assessment-plan": "uuid metadata import-ssp local-definitions terms-and-conditions reviewed-controls"
    " assessment-subjects assessment-assets tasks control-implementations back-matter",
    "reviewed-controls": "description props links control-selections control-objective-selections remarks",
    "control-selection": "description props links include-all include-controls exclude-controls remarks",
    "included-control": "control-id title description statement-ids props remarks",
}
# OSCAL's, and what the SDK's templates add (a description).
_METADATA = (
    "title published last-modified version oscal-version revisions document-ids props links roles locations parties"
    " responsible-parties actions remarks description"
)
_PROP_NAME = re.compile(r"\.props\[\d+\]\.name$")
# Where the controls are that the readers below find.
_READ = re.compile(
    r"""(?: (?: component-definition\.(?:components|capabilities)\[\d+\] | assessment-plan )
            \.control-implementations\[\d+\]\.implemented-requirements\[\d+\]
          | assessment-plan\.reviewed-controls\.control-selections\[\d+\]\.include-controls\[\d+\]
          | catalog(?:\.(?:groups|controls)\[\d+\])*\.controls\[\d+\]
        )\.props\[\d+\]\.name""",
    re.VERBOSE,
)
_PROP_KEYS = ("name", "value", "ns", "class", "uuid", "remarks", "group")
_FLAT_INPUTS = ("input", "inputs")


def read_oscal(root: Fields, file: PolicyFile) -> Policy:
    """The policy of an OSCAL document as far as it is readable; mistakes are noted in `root`."""
    roots = [name for name in OSCAL_ROOTS if name in root]
    if len(roots) > 1:
        root.note(root.place, f"two documents in one file: {' and '.join(roots)}")
    shape = roots[0]
    root.node("$schema")
    root.close()
    document = root.map(shape)
    if document is None:
        return file.policy("", "", (), "", shape)
    if shape == "profile":
        root.note(document.place, "a profile holds no controls of its own: give the catalog that it selects from")
        return file.policy("", "", (), "", shape)
    _known(document, shape)
    controls = _unique(_CONTROLS[shape](document), root)
    _refuse_hidden(document.place, root)
    metadata = document.map("metadata")
    if metadata is None:
        return file.policy(_policy_id(root, document.text("uuid"), PurePath(file.name).stem), "0", controls, "", shape)
    title, version = metadata.text("title"), metadata.read("version", policy_version, "0")
    for key in _METADATA.split():
        metadata.node(key)
    metadata.close()
    ours = _props(metadata, NAMESPACE)
    if ours is not None and "policy_id" in ours:
        return _as_exported(ours, version, controls, file, shape)
    names = (title, document.text("uuid"), PurePath(file.name).stem)
    return file.policy(_policy_id(root, *names), version, controls, _one_line(title), shape)


def _as_exported(ours: Fields, version: str, controls: tuple[Control, ...], file: PolicyFile, shape: str) -> Policy:
    """The policy of a document that `oscal_export` wrote: our props in its metadata say what OSCAL has no place for."""
    title = ours.read("title", line_of_text, "")
    policy = file.policy(ours.read("policy_id", policy_id, ""), version, controls, title, shape)
    law = {"text": ours.read("law.text", line_of_text, ""), "consolidated": ours.read("law.consolidated", day, None)}
    applies_to = ours.map("applies_to")
    evaluate_with = ours.choice("evaluate_with", EvaluateWith, EvaluateWith.RUN_START)
    reaches_back = read_on_change(ours)
    retain = ours.read("retain", retention, "")
    ours.close(noun="prop")
    return replace(
        policy,
        law={key: str(value) for key, value in law.items() if value},
        applies_to=read_selector(applies_to) if applies_to else None,
        evaluate_with=evaluate_with,
        reaches_back=reaches_back,
        retain=retain,
    )


def _refuse_hidden(node: Node, root: Fields) -> None:
    """A metric where no control is (in a statement, a part, a component) would be a check that never happens."""
    match node:
        case Scalar(text="metric_key" | "metric") if _PROP_NAME.search(node.path) and not _READ.fullmatch(node.path):
            root.note(node, "a metric that belongs to no control: move the prop to a control's own props")
        case ListNode():
            for item in node.items:
                _refuse_hidden(item, root)
        case MapNode():
            for _, value in node.pairs:
                _refuse_hidden(value, root)


def read_flat(root: ListNode, file: PolicyFile, mistakes: Mistakes) -> Policy:
    """The policy of a flat list of `{id, metric_key, operator, threshold, severity, ...}`."""
    items = Fields(((Scalar("controls", None), root),), root, mistakes)
    controls = _unique((_flat_control(item) for item in items.maps("controls")), items)
    return file.policy(_policy_id(items, PurePath(file.name).stem), "0", controls, "", "flat-list")


def _component_definition(document: Fields) -> Iterator[Control]:
    for key, kind in (("components", "component"), ("capabilities", "capability")):
        for part in _children(document, key, kind):
            yield from _implementations(part)


def _implementations(parent: Fields) -> Iterator[Control]:
    for implementation in _children(parent, "control-implementations", "control-implementation"):
        for item in _children(implementation, "implemented-requirements", "implemented-requirement"):
            yield _control(item, "control-id")


def _catalog(parent: Fields) -> Iterator[Control]:
    for item in _children(parent, "controls", "control"):
        nested = item.node("controls")
        if nested is None or "props" in item:
            yield _control(item, "id")
        yield from _catalog(item)
    if "groups" in parent:
        for group in _children(parent, "groups", "group"):
            yield from _catalog(group)


def _plan(document: Fields) -> Iterator[Control]:
    """Controls stand in `control-implementations`, or in the selections of `reviewed-controls`; there an item
    without props only repeats the id of a control that is defined elsewhere in the plan."""
    defined: set[str] = set()
    for control in _implementations(document):
        defined.add(control.id)
        yield control
    repeated: list[tuple[Fields, str]] = []
    reviewed = document.map("reviewed-controls")
    if reviewed:
        _known(reviewed, "reviewed-controls")
        for selection in _children(reviewed, "control-selections", "control-selection"):
            for item in _children(selection, "include-controls", "included-control"):
                if "props" in item:
                    yield (control := _control(item, "control-id"))
                    defined.add(control.id)
                else:
                    repeated.append((item, item.text("control-id")))
    for item, name in repeated:
        if name not in defined:
            item.note(item.place, f"the control {shown(name)} has no props: it names no metric")


_CONTROLS = {"component-definition": _component_definition, "catalog": _catalog, "assessment-plan": _plan}


def _children(parent: Fields, key: str, kind: str) -> list[Fields]:
    children = parent.maps(key)
    for child in children:
        _known(child, kind)
    return children


def _known(fields: Fields, kind: str) -> None:
    for key in _KEYS[kind].split():
        fields.node(key)
    fields.close()


def _control(item: Fields, id_key: str) -> Control:
    item.require(id_key)
    if "props" not in item:
        item.note(item.place, f"the control {shown(item.text(id_key))} has no props: it names no metric")
    control = read_props(_props(item), item.place.line)
    name, title = item.read(id_key, control_id, ""), item.text("title") or item.text("description")
    # A document of ours gives id and title in props: as tokens and descriptions of OSCAL they may have changed.
    return control if control.id else replace(control, id=name, title=_one_line(title))


def _props(item: Fields, namespace: str | None = None) -> Fields | None:
    """The props of a control as fields: name -> value; of one namespace, where one is given."""
    if "props" not in item:
        return None
    pairs: dict[str, tuple[Scalar, Node]] = {}
    for prop in item.maps("props"):
        prop.require("name", "value")
        for key in _PROP_KEYS:
            prop.node(key)
        prop.close()
        name, value = prop.node("name"), prop.node("value")
        if not isinstance(name, Scalar) or value is None or namespace not in (None, prop.text("ns")):
            continue
        if prop.text("class") == AS_JSON and prop.text("ns") == NAMESPACE:
            pairs[name.text] = (name, _unpacked(value, prop))
        else:
            _add(pairs, name, value, prop)
    return Fields(pairs.values(), item.node("props") or item.place, item.mistakes)


def _unpacked(value: Node, prop: Fields) -> Node:
    """The value of a prop that is JSON text, as nodes that stand where the prop stands."""

    def placed(plain: object) -> Node:
        match plain:
            case dict():
                pairs = tuple((replace(at, text=key, value=key), placed(item)) for key, item in plain.items())
                return MapNode(pairs, at.line, at.column, at.path)
            case list():
                return ListNode(tuple(map(placed, plain)), at.line, at.column, at.path)
            case _:
                return replace(at, text=str(plain), value=str(plain))

    at = value if isinstance(value, Scalar) else Scalar("", None, value.line, value.column, value.path)
    try:
        return placed(json.loads(at.text))
    except (ValueError, RecursionError):
        prop.note(at, f"the value must be JSON text, for the class of the prop says so: {shown(at.text)}")
        return replace(at, text="json", value="json")


def _flat_control(item: Fields) -> Control:
    pairs: dict[str, tuple[Scalar, Node]] = {}
    own = {"id", "control-id", "title", "description"}
    for key, value in item.pairs():
        if key.text in _FLAT_INPUTS:
            bindings = read_fields(value, shown(key.text), item.mistakes)
            for role, column in bindings.pairs() if bindings else ():
                _add(pairs, replace(role, text=f"input.{role.text}"), column, item)
        elif key.text not in own:
            _add(pairs, key, value, item)
    id_key = "control-id" if "control-id" in item else "id"
    item.require(id_key)
    control = read_props(Fields(pairs.values(), item.place, item.mistakes), item.place.line)
    title = item.text("title") or item.text("description")
    return replace(control, id=item.read(id_key, control_id, ""), title=_one_line(title))


def _add(pairs: dict[str, tuple[Scalar, Node]], name: Scalar, value: Node, fields: Fields) -> None:
    """One prop under its one spelling. Props are text in OSCAL, so `"0.8"` is as good as `0.8`."""
    spelling = name.text.replace("input:", "input.", 1)
    spelling = {"metric": "metric_key"}.get(spelling, spelling)
    if spelling in pairs:
        fields.note(name, f"the prop {shown(spelling)} is given twice (first on line {pairs[spelling][0].line})")
        return
    if isinstance(value, Scalar):
        meant = understand(value.text)[0]
        unquoted_null = value.value is None  # `value: ~` holds nothing; `value: "~"` holds a name
        value = replace(value, value=value.text if meant is None and not unquoted_null else meant)
    pairs[spelling] = (replace(name, text=spelling), value)


def _unique(controls: Iterator[Control], root: Fields) -> tuple[Control, ...]:
    found: dict[str, Control] = {}
    count = 0
    for control in controls:
        count += 1
        if first := found.get(control.id):
            place = Scalar(control.id, None, control.line, 1)
            root.note(place, f"the control {shown(control.id)} is on line {first.line} already")
        found[control.id] = control
    if not count:
        root.note(root.place, "a policy without controls requires nothing")
    return tuple(found.values())


def _policy_id(root: Fields, *names: str) -> str:
    found = next(filter(None, map(slug, names)), "")
    if not found:
        root.note(root.place, "no policy id can be made from the title, the uuid or the file name: give it a title")
    return found


def _one_line(text: str) -> str:
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:500]
