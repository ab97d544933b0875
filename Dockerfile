# syntax=docker/dockerfile:1

FROM rust:1-bookworm AS build
WORKDIR /src
# .dockerignore says what that is.
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin staleguard \
    && install -D --strip target/release/staleguard /out/staleguard

FROM debian:bookworm-slim
RUN useradd --system --uid 65532 --user-group --no-create-home --shell /usr/sbin/nologin staleguard
COPY --from=build /out/staleguard /usr/local/bin/staleguard
COPY config/staleguard.toml /usr/share/doc/staleguard/staleguard.toml
USER 65532:65532

# Inside a container the loopback address reaches nobody. A file's settings give way to these; flags do not.
ENV STALEGUARD_LISTEN=0.0.0.0:6442 \
    STALEGUARD_HTTP=0.0.0.0:9642
EXPOSE 6442 9642

# The image has no curl: bash speaks enough HTTP.
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/9642 && printf 'GET /health HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200'"]

ENTRYPOINT ["staleguard"]
CMD ["serve"]
