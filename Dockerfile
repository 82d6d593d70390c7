# syntax=docker/dockerfile:1

# A static musl binary in an image of nothing else.
FROM rust:1.95-alpine AS build
RUN apk add --no-cache build-base musl-dev
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
# The in-process broker of `demo` and of the tests stays out.
RUN cargo build --release --locked --no-default-features \
    && mkdir -p /image/offsets \
    && cp target/release/login-pipeline /image/

FROM scratch
COPY --from=build --chown=65532:65532 /image/ /
USER 65532:65532
WORKDIR /
VOLUME /offsets
EXPOSE 9464
ENV LOGIN_PIPELINE__ADMIN__LISTEN=0.0.0.0:9464 \
    LOGIN_PIPELINE__OFFSETS__PATH=/offsets
ENTRYPOINT ["/login-pipeline"]
CMD ["run"]
