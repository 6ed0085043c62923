# The daemon in an image: built in one stage, run in another that holds no build tools.
#   docker build -t postfix-mta-sts .
#   docker run -v policies:/var/lib/postfix-mta-sts -p 127.0.0.1:8461:8461 postfix-mta-sts

FROM debian:trixie-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
RUN python3 -m venv /opt/postfix-mta-sts
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY postfix_mta_sts ./postfix_mta_sts
RUN /opt/postfix-mta-sts/bin/pip install --no-cache-dir --constraint constraints.txt .

FROM debian:trixie-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/postfix-mta-sts /opt/postfix-mta-sts
# Within a container 127.0.0.1 is the container's own: who may ask is decided by its network.
# A configuration of one's own is mounted over this file.
RUN printf 'listen:\n  - socketmap: 0.0.0.0:8461\n' > /etc/postfix-mta-sts.yml \
    && install --directory --owner=8461 --group=8461 --mode=0700 /var/lib/postfix-mta-sts
ENV STATE_DIRECTORY=/var/lib/postfix-mta-sts
VOLUME /var/lib/postfix-mta-sts
EXPOSE 8461
# A number, so that Kubernetes' runAsNonRoot can see that it is not root.
USER 8461:8461
ENTRYPOINT ["/opt/postfix-mta-sts/bin/postfix-mta-sts"]
CMD ["serve"]
