# The daemon in an image: built in one stage, run in another that holds no build tools.
# docs/docker.md says how to run it; contrib/docker/compose.yml shows it beside an MTA.
#   docker build -t postfix-mta-sts .

FROM debian:trixie-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
RUN python3 -m venv /opt/postfix-mta-sts
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY postfix_mta_sts ./postfix_mta_sts
# pip has done its work then: nothing is installed in a container.
RUN /opt/postfix-mta-sts/bin/pip install --no-cache-dir --constraint constraints.txt . \
    && /opt/postfix-mta-sts/bin/pip uninstall --yes pip

FROM debian:trixie-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/*
COPY --from=build /opt/postfix-mta-sts /opt/postfix-mta-sts
# Within a container 127.0.0.1 is the container's own: who may ask is decided by its network.
# This is a file and not a variable, which would win over a configuration that is mounted here.
# The second folder is for a volume with a UNIX socket: a new one takes its owner from here.
RUN printf 'listen:\n  - socketmap: 0.0.0.0:8461\n' > /etc/postfix-mta-sts.yml \
    && ln -s /opt/postfix-mta-sts/bin/postfix-mta-sts /usr/local/bin/ \
    && install --directory --owner=8461 --group=8461 --mode=0700 /var/lib/postfix-mta-sts \
    && install --directory --owner=8461 --group=8461 --mode=0755 /run/postfix-mta-sts
ENV STATE_DIRECTORY=/var/lib/postfix-mta-sts PYTHONDONTWRITEBYTECODE=1
VOLUME /var/lib/postfix-mta-sts
EXPOSE 8461
# A number, so that Kubernetes' runAsNonRoot can see that it is not root.
USER 8461:8461
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s \
    CMD ["/usr/local/bin/postfix-mta-sts", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/postfix-mta-sts"]
CMD ["serve"]
