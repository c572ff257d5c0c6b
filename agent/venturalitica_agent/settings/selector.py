"""Reads which runs something applies to: `runs:` of an audit and `applies_to:` of a policy."""

from __future__ import annotations

from venturalitica_agent.domain.policy import Selector
from venturalitica_agent.domain.run import RunStatus
from venturalitica_agent.strict_yaml import Fields, Scalar, one_of, printable, shown

ENDED_STATUSES = [status.value for status in RunStatus if status.ended]


def read_selector(fields: Fields) -> Selector:
    """`{experiment: glob, tags: {key: value}, status: [FINISHED, ...]}`; mistakes are noted in `fields`."""
    everything = Selector()
    experiment = fields.read("experiment", printable(500), everything.experiment)
    status = fields.list_of("status", one_of(ENDED_STATUSES)) or everything.status
    tags: dict[str, str] = {}
    wanted = fields.map("tags")
    for key, value in wanted.pairs() if wanted else ():
        # Tags are text in every tracker: `version: 1.10` means the text, and false and null have no other reading.
        if isinstance(value, Scalar):
            tags[key.text] = value.text
        else:
            fields.note(value, f"the tag {shown(key.text)} must be a single value")
    fields.close()
    return Selector(experiment, tags, status)
