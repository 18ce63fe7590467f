# Caddy with Tidegate, built in the usual way for Caddy with a module.
#
#   docker build -f xcaddy.Dockerfile -t tidegate --build-arg TIDEGATE_VERSION=$(git describe --tags --always) .

# The builder of 2.11 has Go 1.26 and fetches no other: go.mod can ask for no
# newer one than the builder has.
ARG CADDY_VERSION=2.11.9

FROM caddy:2.11-builder AS build
ARG CADDY_VERSION
# Without it the program says (devel): the repository is not part of what is built.
ARG TIDEGATE_VERSION
WORKDIR /src
COPY . .
# The flags are those that xcaddy has without any, and the version.
RUN XCADDY_GO_BUILD_FLAGS="-ldflags '-w -s -X github.com/tidegate/tidegate/caddymodule.buildVersion=${TIDEGATE_VERSION}' -trimpath -tags nobadger,nomysql,nopgx" \
	xcaddy build v${CADDY_VERSION} --output /tidegate --with github.com/tidegate/tidegate=/src

FROM alpine:3.22
RUN apk add --no-cache ca-certificates \
	&& adduser -D -u 10001 tidegate \
	&& install -d -o tidegate -g tidegate /srv/tidegate /srv/tidegate/files
COPY --from=build /tidegate /usr/bin/tidegate
COPY Caddyfile /etc/tidegate/Caddyfile
USER tidegate
ENV TIDEGATE_BIND=0.0.0.0 \
	TIDEGATE_LISTEN=:8080 \
	TIDEGATE_DATA=/srv/tidegate \
	XDG_DATA_HOME=/srv/tidegate/caddy \
	XDG_CONFIG_HOME=/srv/tidegate/caddy
VOLUME /srv/tidegate
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
	CMD wget -q -O /dev/null http://127.0.0.1:8080/health
ENTRYPOINT ["/usr/bin/tidegate"]
CMD ["run", "--config", "/etc/tidegate/Caddyfile"]
