# An image of the daemon: the first stage builds it, the second has no build tools.
# See docs/docker.md for how to run it, and contrib/docker/compose.yml for an example with an MTA.
#   docker build -t postfix-mta-sts .

FROM debian:trixie-slim AS build
# Set by a release (docs/releasing.md), so that two builds are equal. Python then writes compiled
# modules that do not contain the time of their sources, see py_compile.PycInvalidationMode.
ARG SOURCE_DATE_EPOCH
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
RUN python3 -m venv /opt/postfix-mta-sts
COPY pyproject.toml constraints.txt config.example.yml README.md LICENSE ./
COPY postfix_mta_sts ./postfix_mta_sts
# pip is removed afterwards: nothing is installed in a running container. So the libraries for a store
# that relays share (docs/fleet.md) are in the image.
RUN /opt/postfix-mta-sts/bin/pip install --no-cache-dir --constraint constraints.txt \
        '.[valkey,postgresql]' \
    && /opt/postfix-mta-sts/bin/pip uninstall --yes pip

FROM debian:trixie-slim
LABEL org.opencontainers.image.title=postfix-mta-sts \
    org.opencontainers.image.description="MTA-STS (RFC 8461) policies for Postfix" \
    org.opencontainers.image.licenses=MIT
ARG SOURCE_DATE_EPOCH
# The cache of ldconfig contains inode numbers.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old \
        /var/cache/ldconfig/aux-cache /var/log/*
COPY --from=build /opt/postfix-mta-sts /opt/postfix-mta-sts
# 127.0.0.1 would be the container's own loopback; the network of the container limits the clients.
# This is a file and not a variable: a variable would override a configuration that is mounted here.
# The second folder is for a volume with a UNIX socket: a new volume takes its owner from here.
RUN printf 'listen:\n  - socketmap: 0.0.0.0:8461\n' > /etc/postfix-mta-sts.yml \
    && ln -s /opt/postfix-mta-sts/bin/postfix-mta-sts /usr/local/bin/ \
    && install --directory --owner=8461 --group=8461 --mode=0700 /var/lib/postfix-mta-sts \
    && install --directory --owner=8461 --group=8461 --mode=0755 /run/postfix-mta-sts
ENV STATE_DIRECTORY=/var/lib/postfix-mta-sts PYTHONDONTWRITEBYTECODE=1
VOLUME /var/lib/postfix-mta-sts
EXPOSE 8461
# A number, because Kubernetes' runAsNonRoot does not accept a name.
USER 8461:8461
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s \
    CMD ["/usr/local/bin/postfix-mta-sts", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/postfix-mta-sts"]
CMD ["serve"]
