# syntax=docker/dockerfile:1

# The static binary of `make dist`, alone in an image. `docker build .` makes the binary, too, for the
# platform that is asked for, whatever it runs on; `make image` takes what `make dist` has left in
# dist/, and pulls nothing:
#
#   docker buildx build --build-context build=dist --build-context root=... .

# A tag, since a digest would have to be renewed by hand; dependabot renews the tag.
FROM --platform=$BUILDPLATFORM rust:1.95.0-bookworm AS toolchain
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends binutils ca-certificates python3-venv \
    && rm -rf /var/lib/apt/lists/*

# Compiles for the platform that is asked for, on the one that there is.
FROM toolchain AS compile
WORKDIR /src
COPY . .
ARG TARGETPLATFORM
RUN case $TARGETPLATFORM in \
        linux/amd64) arch=x86_64 ;; \
        linux/arm64*) arch=aarch64 ;; \
        linux/arm/v7) arch=armv7 ;; \
        *) echo "no binary is made for $TARGETPLATFORM" >&2; exit 1 ;; \
    esac \
    && tools/dist/build.sh --binary-only "$arch"

# The binaries, each in the folder of its platform: dist/ stands in for this.
FROM scratch AS build
COPY --from=compile /src/dist/linux/ /linux/

# What is in the image beside the binary.
FROM toolchain AS root
RUN mkdir -p /image/etc/ssl/certs /image/offsets \
    && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/

FROM scratch
ARG TARGETPLATFORM
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="login-pipeline" \
      org.opencontainers.image.description="Moves login events through validation and enrichment from one Kafka topic to another, losing none" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /$TARGETPLATFORM/login-pipeline /login-pipeline
# The web's roots as a file, for kafka.tls.ca_file. Without one those that are built in count.
COPY --from=root /image/etc/ /etc/
# Where offsets in files are, by the default of offsets.path, for who mounts a volume there.
COPY --from=root --chown=65532:65532 /image/offsets/ /offsets/
USER 65532:65532
WORKDIR /
VOLUME /offsets
EXPOSE 9464
ENV LOGIN_PIPELINE__ADMIN__LISTEN=0.0.0.0:9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/login-pipeline", "health"]
ENTRYPOINT ["/login-pipeline"]
CMD ["run"]
