#!/usr/bin/env bash
# Builds the tools that the Makefile calls, each once per version, into the
# user's cache directory, and prints the path of each.
#
#   tools/install.sh [--link DIR] sqlc templ oapi-codegen gofumpt golangci-lint
#
# --link also makes DIR/sqlc and so on, for PATH.
#
# Why built binaries and not `go tool`: sqlc takes minutes to compile, and a
# path that exists costs nothing to check. The versions stand in gen/go.mod and
# lint/go.mod; changing one there is all it takes to move to it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export GOWORK=off
bin=${XDG_CACHE_HOME:-$HOME/.cache}/synthesizer/bin
goversion=$(cd "$here/gen" && go env GOVERSION)
mkdir -p "$bin"
link=
if [ "${1:-}" = --link ]; then
	link=$2
	mkdir -p "$link"
	shift 2
fi

for tool in "$@"; do
	case $tool in
	sqlc)          dir=gen  module=github.com/sqlc-dev/sqlc                 package=$module/cmd/sqlc ;;
	templ)         dir=gen  module=github.com/a-h/templ                     package=$module/cmd/templ ;;
	oapi-codegen)  dir=gen  module=github.com/oapi-codegen/oapi-codegen/v2  package=$module/cmd/oapi-codegen ;;
	gofumpt)       dir=lint module=mvdan.cc/gofumpt                         package=$module ;;
	golangci-lint) dir=lint module=github.com/golangci/golangci-lint/v2     package=$module/cmd/golangci-lint ;;
	*) echo "tools/install.sh: no tool $tool here" >&2; exit 2 ;;
	esac
	version=$(awk -v m="$module" '$1 == m && $2 ~ /^v/ { print $2; exit } $2 == m && $3 ~ /^v/ { print $3; exit }' "$here/$dir/go.mod")
	out=$bin/$tool-$version-$goversion
	if [ ! -x "$out" ]; then
		echo "building $tool $version (once; minutes for sqlc and golangci-lint)" >&2
		# A name of its own and a rename: two makes at once both end with a whole file.
		(cd "$here/$dir" && go build -buildvcs=false -o "$out.$$" "$package" >&2) 2> >(grep -v "^go: downloading" >&2)
		mv "$out.$$" "$out"
	fi
	if [ -n "$link" ]; then
		ln -sfn "$out" "$link/$tool"
	fi
	echo "$out"
done
