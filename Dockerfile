# relay and shipments in an image with nothing else: docker build -t relay:0.1.0 .
#
# Here at the top because that is where every tool that builds images looks for it.

# Debian 12, whose C library the programs are linked to and bring along.
FROM rust:1.89-slim-bookworm AS build
WORKDIR /build
SHELL ["/bin/bash", "-eo", "pipefail", "-c"]
# Names of functions stay for backtraces; lines would triple the image.
ENV CARGO_PROFILE_RELEASE_STRIP=debuginfo

# Dependencies first, under sources that say nothing: a layer that stays until Cargo.toml or Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
RUN sed -n 's/^path = "\(.*\)"$/\1/p' Cargo.toml \
      | while read -r target; do mkdir -p "$(dirname "$target")" && echo 'fn main() {}' >"$target"; done \
 && touch src/lib.rs \
 && cargo build --locked --release --bins

COPY src src
COPY sql sql
COPY docs/problems.md docs/problems.md
# Cargo goes by times, and these files are older than those they replace.
RUN find src -name '*.rs' -exec touch {} + \
 && cargo build --locked --release --bins

# The programs, the libraries they are linked to, and the public authorities. No shell, no package manager.
RUN mkdir -p /image/usr/bin /image/etc/ssl/certs \
 && cp target/release/relay target/release/shipments /image/usr/bin/ \
 && ldd target/release/relay target/release/shipments \
      | awk '$2 == "=>" {print $3} $1 ~ /^\/.*\/ld-/ {print $1}' | sort -u \
      | xargs -I{} cp -L --parents {} /image \
 && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
 && echo 'hosts: files dns' >/image/etc/nsswitch.conf \
 && echo 'relay:x:65532:65532::/:/usr/sbin/nologin' >/image/etc/passwd \
 && echo 'relay:x:65532:' >/image/etc/group \
 && chroot /image /usr/bin/relay --version && chroot /image /usr/bin/shipments --version

FROM scratch
ARG REVISION=
LABEL org.opencontainers.image.title="relay" \
      org.opencontainers.image.description="Transactional outbox relay for Postgres and RabbitMQ" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /image /
ENV PATH=/usr/bin
# By number, so that an orchestrator can see that it is not root.
USER 65532:65532
# Of relay; shipments' are 9631, 9650 and 9651. Inside a container set RELAY_ADMIN_LISTEN=0.0.0.0:9630.
EXPOSE 9630
ENTRYPOINT ["relay"]
CMD ["run"]
