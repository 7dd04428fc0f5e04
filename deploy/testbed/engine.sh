#!/usr/bin/env bash
# Makes a container engine ready for the Compose test: the Compose and buildx
# plugins, and base images for the build.
#
#   deploy/testbed/engine.sh plugins   builds the plugins that are missing
#   deploy/testbed/engine.sh images    pulls the public images, or builds stand-ins
#   deploy/testbed/engine.sh           both, then prints the settings to export
#   deploy/testbed/engine.sh build     all that, and builds our images, so that a
#                                      later `docker compose up` finds them made
#
# Everything it makes is kept: plugins under the user's cache directory, images
# in the engine. A machine that has Compose v2, buildx and a registry is left
# exactly as it is. Without a registry one Debian tree, made by debootstrap from
# the machine's own package mirror, plays every part: it has Go, Postgres and a
# shell, and is named for what it is, synthesizer-test/….
set -euo pipefail

compose_version=v2.40.3
buildx_version=v0.29.1 # Compose insists on 0.17 or later

cache=${XDG_CACHE_HOME:-$HOME/.cache}/synthesizer
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

say() { echo "engine: $*" >&2; }
die() { say "$*"; exit 1; }

mkdir -p "$cache"
if command -v flock >/dev/null; then
	exec 9>"$cache/.engine.lock"
	flock 9 # a second caller waits and then finds everything made
fi

docker info >/dev/null 2>&1 || die "no container engine answers to 'docker info'"

# build NAME MODULE VERSION PACKAGE VARIABLE builds a plugin in a module made for
# it: `go install` refuses both for the exclude lines of their go.mod.
build() {
	local name=$1 module=$2 version=$3 package=$4 variable=$5
	local out=$cache/bin/$name-$version work
	if [ ! -x "$out" ]; then
		say "building $name $version (once, about three minutes)"
		work=$(mktemp -d)
		mkdir -p "$cache/bin"
		(
			export GOWORK=off GOFLAGS=-mod=mod
			cd "$work" &&
				go mod init throwaway &&
				go get "$package@$version" &&
				go build -buildvcs=false -ldflags "-s -w -X $variable=$version" -o "$out.$$" "$package"
		) >"$cache/$name.log" 2>&1 || { tail -n 20 "$cache/$name.log" >&2; die "building $name failed; its log: $cache/$name.log"; }
		mv "$out.$$" "$out"
		rm -rf "$work"
	fi
	mkdir -p "$HOME/.docker/cli-plugins"
	ln -sf "$out" "$HOME/.docker/cli-plugins/$name"
}

plugins() {
	if ! docker buildx version >/dev/null 2>&1; then
		build docker-buildx github.com/docker/buildx "$buildx_version" \
			github.com/docker/buildx/cmd/buildx github.com/docker/buildx/version.Version
	fi
	if ! docker compose version --short 2>/dev/null | grep -Eq '^v?([2-9]|[1-9][0-9])\.'; then
		build docker-compose github.com/docker/compose/v2 "$compose_version" \
			github.com/docker/compose/v2/cmd github.com/docker/compose/v2/internal.Version
	fi
	docker compose version >&2
	docker buildx version >&2
}

# have says whether the engine has an image or can get it.
have() {
	docker image inspect "$1" >/dev/null 2>&1 || timeout 300 docker pull --quiet "$1" >/dev/null 2>&1
}

# The public defaults stand once, in the Dockerfile and in docker-compose.yml.
default_of() { sed -n "s/^ARG $1=//p" "$root/deploy/Dockerfile" | head -n 1; }

images() {
	local go_image base_image postgres_image standin
	go_image=$(default_of GO_IMAGE)
	base_image=$(default_of BASE_IMAGE)
	postgres_image=$(sed -n 's/.*\${SYN_POSTGRES_IMAGE:-\([^}]*\)}.*/\1/p' "$root/docker-compose.yml" | head -n 1)
	if have "$go_image" && have "$base_image" && have "$postgres_image"; then
		printf '' >"$cache/engine.env"
		return
	fi
	standin=synthesizer-test/debian:$(go env GOVERSION)
	postgres_image=synthesizer-test/postgres:$(go env GOVERSION)
	docker image inspect "$standin" >/dev/null 2>&1 || standin "$standin"
	docker build --quiet --tag "$postgres_image" - >/dev/null <<-END
		FROM $standin
		ENTRYPOINT ["docker-entrypoint.sh"]
		CMD ["postgres"]
	END
	cat >"$cache/engine.env" <<-END
		SYN_GO_IMAGE=$standin
		SYN_BASE_IMAGE=$standin
		SYN_POSTGRES_IMAGE=$postgres_image
	END
}

# standin NAME imports a Debian tree with Go, Postgres and a shell.
standin() {
	[ "$(id -u)" = 0 ] || die "no registry can be reached, and only root can build stand-in images (debootstrap)"
	command -v debootstrap >/dev/null || {
		say "installing debootstrap"
		apt-get install -y -q debootstrap >&2
	}
	local tree mirror suite
	tree=$(mktemp -d)
	mirror=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1)
	if [ -z "$mirror" ] && [ -r /etc/apt/sources.list ]; then
		mirror=$(sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([a-z]*:[^ ]*\).*/\2/p' /etc/apt/sources.list | head -n 1)
	fi
	suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
	say "building $1 from $suite (once, about two minutes)"
	debootstrap --variant=minbase \
		--include=ca-certificates,tzdata,postgresql,postgresql-client \
		"$suite" "$tree" ${mirror:+"$mirror"} >"$cache/debootstrap.log" 2>&1 ||
		{ tail -n 20 "$cache/debootstrap.log" >&2; die "debootstrap failed; its log: $cache/debootstrap.log"; }
	rm -rf "$tree"/var/cache/apt/archives/*.deb "$tree"/var/lib/apt/lists/* "$tree"/var/lib/postgresql/*/main
	# The machine's own certificates: a build inside must reach the module proxy as the machine does.
	cp /etc/ssl/certs/ca-certificates.crt "$tree/etc/ssl/certs/ca-certificates.crt"
	cp -r "$(go env GOROOT)" "$tree/usr/local/go"
	rm -rf "$tree"/usr/local/go/{test,doc,api}
	install -m 0755 "$here/postgres-entrypoint.sh" "$tree/usr/local/bin/docker-entrypoint.sh"
	tar -C "$tree" -c . | docker import \
		--change 'ENV PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
		--change 'ENV LANG=C.UTF-8' \
		--change 'ENV PGDATA=/var/lib/postgresql/data' \
		--change 'CMD ["bash"]' \
		- "$1" >/dev/null
	rm -rf "$tree"
}

case ${1:-all} in
plugins) plugins ;;
images) images ;;
all)
	plugins
	images
	cat "$cache/engine.env"
	;;
build)
	plugins
	images
	set -a
	. "$cache/engine.env"
	set +a
	docker compose --project-directory "$root" --progress quiet build >&2
	;;
*) die "usage: $0 [plugins|images|build]" ;;
esac
