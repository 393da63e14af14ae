# One image for every service, the migration and the operator: what runs is its command (`run webhook`, `migrate`, …).
#
#   docker build -t realmate .
#   docker build -t realmate-development --target development .        what `skaffold dev` runs
#
# The embedded stores of `realmate up` (the extra `local`) are not in it, nor a compiler, pip, Node, a shell's tools or tests.

ARG PYTHON=3.11-slim-bookworm
ARG NODE=22-bookworm-slim

# The dependencies, as tested and each by its hash (requirements.lock), in a virtual environment without pip. A change of
# code leaves this layer, the large one, as it is.
FROM python:${PYTHON} AS dependencies
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements.lock ./
RUN python -m venv --without-pip /opt/realmate \
 && pip --python /opt/realmate/bin/python install --quiet --require-hashes --no-deps -r requirements.lock

# The console's page. It is the same for every architecture, so the builder's own Node makes it.
FROM --platform=$BUILDPLATFORM node:${NODE} AS page
WORKDIR /build
COPY console/package.json console/package-lock.json console/.npmrc ./
RUN npm ci
COPY console ./
RUN npm run build

# The project itself, to be laid over them.
FROM dependencies AS application
COPY pyproject.toml README.md LICENSE ./
COPY services services
COPY --from=page /build/dist services/realmate/console/page
RUN pip --python /opt/realmate/bin/python install --quiet --no-deps --prefix /application .

FROM python:${PYTHON} AS production
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Realmate" \
      org.opencontainers.image.description="Webhook events in, grouped and answered conversations out" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A number, so that Kubernetes can see that it is not root; and a name, which getpwuid() wants.
RUN groupadd --gid 10001 realmate \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin realmate \
# A volume that is mounted there the first time becomes that user's.
 && install --directory --owner 10001 --group 10001 /etc/realmate/transport
COPY --from=dependencies /opt/realmate /opt/realmate
COPY --from=application /application /opt/realmate
ENV PATH=/opt/realmate/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=8000
USER 10001:10001
EXPOSE 8000
# Alive, not ready: who kills what is unhealthy must not kill a service because its database is away.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/healthz', timeout=2)"]
ENTRYPOINT ["realmate"]
# All four in one process: the whole API on one port, for who gives it a DATABASE_URL and a REDIS_URL and nothing more.
# The console answers only where a TOKENS_FILE says who may use it.
CMD ["run", "webhook", "conversations", "query", "deliveries", "console"]

# The same for `skaffold dev`: its root must be writable, and its process begins anew when a Python file in it changes.
FROM production AS development
USER root
COPY constraints.txt /tmp/
RUN pip --python /opt/realmate/bin/python install --quiet --no-cache-dir -c /tmp/constraints.txt watchfiles \
 && chown --recursive 10001:10001 /opt/realmate
USER 10001:10001
ENTRYPOINT ["sh", "-c", "exec watchfiles --filter python --sigint-timeout 15 \"realmate $*\" \"$(python -c 'import realmate; print(realmate.__path__[0])')\"", "realmate"]

FROM production
