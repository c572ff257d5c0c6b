# The service in a container. docs/running-as-a-service.md says how to run it so that the sandbox works inside.

FROM docker.io/library/python:3.11-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY agent agent
COPY policies policies
COPY examples examples
COPY systemd systemd
COPY tests/wandb_server tests/wandb_server
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist .
# pip compiles bytecode as it installs; without that each cold sandbox would take two seconds longer.
RUN python3 -m venv /opt/venturalitica-agent \
 && /opt/venturalitica-agent/bin/pip install --no-cache-dir --constraint constraints.txt /dist/*.whl

FROM docker.io/library/python:3.11-slim-bookworm
RUN apt-get update \
 && apt-get install --yes --no-install-recommends bubblewrap util-linux \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin venturalitica \
 && install --directory --owner venturalitica --group venturalitica /work
COPY --from=build /opt/venturalitica-agent /opt/venturalitica-agent
# Libraries keep small files in HOME, and any `--user` must find it writable.
ENV PATH=/opt/venturalitica-agent/bin:$PATH HOME=/tmp
USER venturalitica
WORKDIR /work
VOLUME /work
# Python alone: the command would import for two seconds each time. Where `web.serve` is off there is nothing to ask.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["python3", "-c", \
 "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('VENTURALITICA_WEB_PORT', '8321') + '/healthz', timeout=5)"]
ENTRYPOINT ["venturalitica-agent"]
CMD ["run"]
