"""The fields of the GraphQL root that change runs, their files and projects."""

from __future__ import annotations

import secrets
from typing import Any

from .calls import ApiError, Call
from .filters import matches
from .runs import Run
from .texts import id_parts

Input = dict[str, Any]

# GraphQL's name of what an upsert may change → the run's attribute.
COLUMNS = {
    "group_name": "group",
    "description": "description",
    "display_name": "display_name",
    "notes": "notes",
    "commit": "commit",
    "config": "config",
    "job_type": "job_type",
    "state": "state",
    "sweep": "sweep_name",
    "summary_metrics": "summary_metrics",
}
MOST_TAG_LETTERS = 64
TRANSITIONS = {"pending": {"running", "failed", "crashed", "preempted"}, "failed": {"pending", "running"}}


class RunMutations:
    """Each takes its input with the keys in snake case and answers the payload as a dict of fields."""

    def upsert_bucket(self, call: Call, input: Input) -> dict[str, Any]:
        """Changes only what is given; tags, summary and config are replaced as a whole."""
        run, inserted = _run_made(call, input)
        tags = input.get("tags")
        _check_tags(tags or [])
        for key, attribute in COLUMNS.items():
            if input.get(key) is not None:
                setattr(run, attribute, input[key])
        if tags is not None:
            run.tags = list(dict.fromkeys(tags))
        call.world.touch(run)
        return {"bucket": run, "inserted": inserted}

    def modify_runs(self, call: Call, input: Input) -> dict[str, Any]:
        added, removed = input.get("add_tags") or [], input.get("remove_tags") or []
        _check_tags(added)
        runs = [call.world.run_by_id(one) for one in input.get("ids") or []]
        if input.get("filters") is not None:
            project = call.world.project(input.get("entity_name"), input.get("project_name"))
            runs += [run for run in project.runs_by_name.values() if matches(run, input["filters"])]
        for run in runs:
            run.tags = [tag for tag in dict.fromkeys([*run.tags, *added]) if tag not in removed]
            call.world.touch(run)
        return {"runs": runs}

    def delete_run(self, call: Call, input: Input) -> dict[str, Any]:
        run = call.world.run_by_id(input["id"])
        del run.project.runs_by_name[run.name]
        return {"client_mutation_id": input.get("client_mutation_id")}

    def update_run_state(self, call: Call, input: Input) -> dict[str, Any]:
        run, wanted = call.world.run_by_id(input["id"]), input["state"]
        if run.state not in TRANSITIONS.get(wanted, set()):
            raise ApiError(400, f"cannot change the state of a run from {run.state} to {wanted}")
        run.state = wanted
        call.world.touch(run)
        return {"success": True}

    def stop_run(self, call: Call, input: Input) -> dict[str, Any]:
        call.world.run_by_id(input["id"]).stop_requested = True
        return {"success": True}

    def create_run_files(self, call: Call, input: Input) -> dict[str, Any]:
        run = _run_of(call, input)
        for name in input["files"]:
            if name not in run.stored_files:
                path = f"/files/{run.project.path}/{run.name}/{name}"
                run.stored_files[name] = call.world.new_file(name, path)
                run.stored_files[name].listed = False
        call.world.touch(run)
        return {"run_id": run.id, "upload_headers": [], "files": [run.stored_files[name] for name in input["files"]]}

    def mark_run_files_uploaded(self, call: Call, input: Input) -> dict[str, Any]:
        run = _run_of(call, input)
        missing = [name for name in input["files"] if name not in run.stored_files]
        if missing:
            raise ApiError(404, f"files {missing} not found")
        call.world.touch(run)
        return {"success": True}

    def delete_files(self, call: Call, input: Input) -> dict[str, Any]:
        unwanted = {id_parts(one, "File")[0] for one in input["files"]}
        runs = [r for e in call.world.entities.values() for p in e.projects.values() for r in p.runs_by_name.values()]
        for run in runs:
            for name in [n for n, file in run.stored_files.items() if file.download_token in unwanted]:
                del run.stored_files[name]
                call.world.touch(run)
        return {"success": True}

    def upsert_model(self, call: Call, input: Input) -> dict[str, Any]:
        project, inserted = call.world.project_made(input.get("entity_name"), input.get("name"))
        project.description = input.get("description") or project.description
        return {"project": project, "model": project, "inserted": inserted}


def _run_made(call: Call, input: Input) -> tuple[Run, bool]:
    if input.get("id"):
        return call.world.run_by_id(input["id"]), False
    project, _ = call.world.project_made(input.get("entity_name"), input.get("model_name"))
    name = input.get("name") or secrets.token_hex(4)
    if name in project.runs_by_name:
        return project.runs_by_name[name], False
    now = call.world.now()
    run = Run(project, name, call.world.user, now, now, display_name=f"run-{call.world.next_number()}")
    project.runs_by_name[name] = run
    return run, True


def _run_of(call: Call, input: Input) -> Run:
    return call.world.run(input["entity_name"], input["project_name"], input["run_name"])


def _check_tags(tags: list[str]) -> None:
    bad = [tag for tag in tags if not 1 <= len(tag) <= MOST_TAG_LETTERS]
    if bad:
        raise ApiError(400, f"invalid tag {bad[0]!r}: tags have 1 to {MOST_TAG_LETTERS} characters")
