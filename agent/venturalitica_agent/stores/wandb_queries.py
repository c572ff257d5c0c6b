"""The GraphQL that we ask a W&B server. Every field is one that the SDK's own queries name: a server of another age
than this program can be expected to know those."""

from __future__ import annotations

_RUN = "id name state createdAt heartbeatAt historyLineCount"

_ARTIFACT = """
      id digest state versionIndex createdAt
      artifactType { name }
      artifactSequence { name project { name entity { name } } }
      aliases { alias }
      currentManifest { file { directUrl } }
"""

_PAGE = "pageInfo { endCursor hasNextPage }"

PING = """
query Ping($entity: String!, $project: String!) {
  viewer { id entity username }
  project(name: $project, entityName: $entity) { id readOnly }
}
"""

VIEWER = "query Viewer { viewer { id entity username } }"

PROJECTS = f"""
query GetProjects($entity: String, $cursor: String, $perPage: Int = 100) {{
  models(entityName: $entity, after: $cursor, first: $perPage) {{
    {_PAGE}
    edges {{ node {{ name }} }}
  }}
}}
"""

RUNS = f"""
query Runs($entity: String!, $project: String!, $cursor: String, $perPage: Int, $order: String, $filters: JSONString) {{
  project(name: $project, entityName: $entity) {{
    runs(filters: $filters, after: $cursor, first: $perPage, order: $order) {{
      edges {{ node {{ {_RUN} }} }}
      {_PAGE}
    }}
  }}
}}
"""

LOOK = f"""
query Look($entity: String!, $project: String!, $run: String!) {{
  project(name: $project, entityName: $entity) {{ run(name: $run) {{ {_RUN} }} }}
}}
"""

RUN = f"""
query Run($entity: String!, $project: String!, $run: String!, $perPage: Int) {{
  project(name: $project, entityName: $entity) {{
    run(name: $run) {{
      {_RUN}
      displayName tags config summaryMetrics group jobType
      logged: outputArtifacts(first: $perPage) {{ {_PAGE} edges {{ node {{ {_ARTIFACT} }} }} }}
      used: inputArtifacts(first: $perPage) {{ {_PAGE} edges {{ node {{ {_ARTIFACT} }} }} }}
    }}
  }}
}}
"""

MORE_ARTIFACTS = {
    side: f"""
query MoreArtifacts($entity: String!, $project: String!, $run: String!, $cursor: String, $perPage: Int) {{
  project(name: $project, entityName: $entity) {{
    run(name: $run) {{
      {side}: {field}(after: $cursor, first: $perPage) {{ {_PAGE} edges {{ node {{ {_ARTIFACT} }} }} }}
    }}
  }}
}}
"""
    for side, field in (("logged", "outputArtifacts"), ("used", "inputArtifacts"))
}

NAMED_ARTIFACT = f"""
query NamedArtifact($entity: String!, $project: String!, $name: String!) {{
  project(name: $project, entityName: $entity) {{
    artifactCollectionMembership(name: $name) {{ artifact {{ {_ARTIFACT} }} }}
  }}
}}
"""

ARTIFACT_FILES = f"""
query ArtifactFiles($entity: String!, $project: String!, $collection: String!, $alias: String!,
                    $names: [String!], $cursor: String, $perPage: Int) {{
  project(name: $project, entityName: $entity) {{
    artifactCollection(name: $collection) {{
      artifactMembership(aliasName: $alias) {{
        files(names: $names, after: $cursor, first: $perPage) {{
          {_PAGE}
          edges {{ node {{ name: displayName directUrl }} }}
        }}
      }}
    }}
  }}
}}
"""

RUN_FILES = f"""
query RunFiles($entity: String!, $project: String!, $run: String!, $names: [String], $cursor: String, $perPage: Int) {{
  project(name: $project, entityName: $entity) {{
    run(name: $run) {{
      files(names: $names, after: $cursor, first: $perPage) {{
        {_PAGE}
        edges {{ node {{ name directUrl sizeBytes md5 }} }}
      }}
    }}
  }}
}}
"""

MARKS = """
query Marks($entity: String!, $project: String!, $run: String!) {
  project(name: $project, entityName: $entity) { run(name: $run) { id tags summaryMetrics } }
}
"""

SET_SUMMARY = """
mutation SetSummary($id: String!, $summary: JSONString) {
  upsertBucket(input: {id: $id, summaryMetrics: $summary}) { bucket { id tags summaryMetrics } }
}
"""

SET_TAGS = """
mutation SetTags($id: String!, $tags: [String!]) {
  upsertBucket(input: {id: $id, tags: $tags}) { bucket { id } }
}
"""

# Undocumented, and the only way to change tags that can't undo somebody else's: absent on some servers.
CHANGE_TAGS = """
mutation ChangeTags($ids: [ID], $add: [String], $remove: [String]) {
  modifyRuns(input: {ids: $ids, addTags: $add, removeTags: $remove}) { __typename }
}
"""

CREATE_FILES = """
mutation CreateRunFiles($entity: String!, $project: String!, $run: String!, $files: [String!]!) {
  createRunFiles(input: {entityName: $entity, projectName: $project, runName: $run, files: $files}) {
    runID uploadHeaders files { name uploadUrl }
  }
}
"""

FILES_UPLOADED = """
mutation MarkRunFilesUploaded($entity: String!, $project: String!, $run: String!, $files: [String!]!) {
  markRunFilesUploaded(input: {entityName: $entity, projectName: $project, runName: $run, files: $files}) { success }
}
"""
