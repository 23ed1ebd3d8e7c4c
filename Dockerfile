# The orchestrator as an image for Cloud Run jobs:          docker build --tag mayfly .
# The agent, for a Cloud Run service with a GPU, or a VM:   docker build --tag mayfly-agent --target agent .
#
# Two bases, with the Python of one Debian release: one with a shell, to build in, and one with little but Python, to
# run in. A tag moves: pin both as NAME@sha256:DIGEST (`docker buildx imagetools inspect NAME` tells it; cloudbuild.yaml
# does so by itself). What is installed on them is pinned by hash, in uv.lock and here.
ARG BUILD_BASE=docker.io/library/debian:bookworm-slim
ARG BASE=gcr.io/distroless/python3-debian12:latest

FROM --platform=linux/amd64 ${BUILD_BASE} AS python
RUN python3 -c 'import ensurepip' 2>/dev/null \
    || { apt-get update -qq && apt-get install -qq -y --no-install-recommends ca-certificates python3-venv \
         && rm -rf /var/lib/apt/lists /var/cache/apt; }

FROM python AS build
ARG UV_VERSION=0.13.8
ARG UV_SHA256=e18a57b8b352eb7c8feb317b9f6f533c8f0ad9673fd6cf34bbe3cf1a9f6a8984
RUN echo "uv==${UV_VERSION} --hash=sha256:${UV_SHA256}" >/uv.txt \
    && python3 -m venv /uv && /uv/bin/pip install -q --no-cache-dir --disable-pip-version-check --require-hashes -r /uv.txt
ENV UV_PYTHON=/usr/bin/python3 UV_LINK_MODE=copy UV_NO_CACHE=1
WORKDIR /app
COPY pyproject.toml uv.lock ./

# Dependencies come before our code, so that a change of ours fetches nothing. Of the hundred services that
# google-cloud-compute knows, those stay that orchestrator/google_library.py imports: the others are half the image.
FROM build AS orchestrator-code
RUN /uv/bin/uv sync -q --frozen --no-dev --extra orchestrator --no-install-project \
    && find .venv/lib/python3*/site-packages/google/cloud/compute_v1/services -mindepth 1 -maxdepth 1 -type d \
        ! -name addresses ! -name instances ! -name region_operations ! -name zone_operations -exec rm -r {} +
COPY . .
# The user may write nothing, so whatever has no bytecode now is compiled anew at each start. Our part is checked never,
# the base's own library by its hash: the image that we run in may have a newer patch of it than the one we build in.
ENV PYTHONPYCACHEPREFIX=/app/bytecode PYTHONDONTWRITEBYTECODE=1
RUN /uv/bin/uv sync -q --frozen --no-dev --extra orchestrator --inexact && rm -r gcp_emulator \
    && .venv/bin/python -m compileall -q -j0 --invalidation-mode unchecked-hash -x /bytecode/ . \
    && .venv/bin/python -m compileall -q -j0 --invalidation-mode checked-hash \
        -x '/(config-|dist-packages|ensurepip|idlelib|lib2to3|pydoc_data|site-packages|test|tkinter|turtledemo)' \
        "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"

FROM --platform=linux/amd64 ${BASE} AS orchestrator
COPY --from=orchestrator-code /app /app
ENV PYTHONPYCACHEPREFIX=/app/bytecode PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 65532:65532
ENTRYPOINT ["/app/.venv/bin/mayfly"]
CMD ["run"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mayfly" \
      org.opencontainers.image.description="Rents a Compute Engine VM for exactly as long as one job needs it." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# AGENT_PACKAGES: what your job needs besides, say "nvidia-cublas-cu12 nvidia-cudnn-cu12==9.*" for
# transcription on a GPU (these two are large; the driver itself comes from Cloud Run, or from the VM).
FROM build AS agent-code
ARG AGENT_EXTRAS="agent transcribe"
ARG AGENT_PACKAGES=
RUN /uv/bin/uv sync -q --frozen --no-dev $(printf -- '--extra %s ' ${AGENT_EXTRAS}) --no-install-project \
    && { [ -z "${AGENT_PACKAGES}" ] || /uv/bin/uv pip install -q --python .venv/bin/python ${AGENT_PACKAGES}; }
COPY . .
RUN /uv/bin/uv sync -q --frozen --no-dev $(printf -- '--extra %s ' ${AGENT_EXTRAS}) --inexact \
    && rm -r gcp_emulator orchestrator mayfly \
    && .venv/bin/python -m compileall -q -j0 --invalidation-mode unchecked-hash .

# Your own job: FROM this image, and COPY main.py into /job.
FROM python AS agent
COPY --from=agent-code /app /app
RUN find /app/.venv -path '*/nvidia/*/lib' -type d >/etc/ld.so.conf.d/mayfly.conf && ldconfig
ENV MAYFLY_SERVICE=1 PATH=/app/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /job
USER 65532:65532
ENTRYPOINT ["/app/.venv/bin/python", "-m", "vm_agent"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mayfly-agent" \
      org.opencontainers.image.description="Runs Mayfly's jobs as a Cloud Run service, or on a VM." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM orchestrator
