# agentproxy in a container: docker run -p 8080:8080 -v $(pwd)/config.json:/app/config.json -v agentproxy:/data IMAGE server
#
# The container is its own fence for agent servers: nobody outside reaches their ports, only the one published here.

FROM debian:12-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/agentproxy
WORKDIR /src
COPY setup.py pyproject.toml README.md ./
COPY twisted_plugins twisted_plugins
COPY agentproxy agentproxy
RUN /opt/agentproxy/bin/pip install --no-cache-dir --disable-pip-version-check ".[postgresql]"

FROM debian:12-slim
# tini reaps what agents leave behind; git and ssh clone repositories; bash runs start-up scripts; prlimit (util-linux) sets limits.
RUN apt-get update \
    && apt-get install -y --no-install-recommends bash ca-certificates git openssh-client python3 tini util-linux \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --shell /usr/sbin/nologin agentproxy \
    && install -d -o agentproxy -g agentproxy -m 0700 /data \
    && install -d /app
COPY --from=build /opt/agentproxy /opt/agentproxy
# The address is the container's own; what others reach is what is published. So everybody is asked for a key: the first start shows
# an administrator's in the container's log, once. AGENTPROXY_AUTH_ENABLED=false and AGENTPROXY_AUTH_ALLOW_ANONYMOUS=true turn that off.
ENV PATH=/opt/agentproxy/bin:$PATH \
    AGENTPROXY_DATA_DIR=/data \
    AGENTPROXY_LISTEN=0.0.0.0 \
    AGENTPROXY_AUTH_ENABLED=true
WORKDIR /app
VOLUME /data
EXPOSE 8080
USER 10001:10001
STOPSIGNAL SIGTERM
# At the port of the configuration; a port that only the command line names is not known here.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python3", "-c", "import urllib.request; from agentproxy.daemon import load_here; urllib.request.urlopen(f'http://127.0.0.1:{load_here(None).config.port}/health', timeout=4).read()"]
ENTRYPOINT ["tini", "-s", "-g", "--", "agentproxy"]
CMD ["server"]
