#!/usr/bin/env bash
# Rewrites all generated code, or with --check tells whether it is up to date.
# The tools are on PATH under their own names (the Makefile sees to that). Files
# that no tool of ours knows by itself are made by `go generate` lines.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOWORK=off

if [ "${1:-}" = --check ]; then
	copy=$(mktemp -d)
	trap 'rm -rf "$copy"' EXIT
	git ls-files --cached --others --exclude-standard -z |
		while IFS= read -r -d '' f; do [ -e "$f" ] && printf '%s\0' "$f"; done |
		tar --null --files-from=- -cf - | tar -C "$copy" -xf -
	cp -a "$copy" "$copy.before"
	trap 'rm -rf "$copy" "$copy.before"' EXIT
	"$copy/tools/generate.sh"
	if ! diff -rq "$copy.before" "$copy"; then
		echo "generated code is not up to date: run make generate and commit what it changes" >&2
		diff -ru "$copy.before" "$copy" | head -n 60 >&2 || true
		exit 1
	fi
	exit 0
fi

sqlc generate
(cd services/api/internal/web && templ generate -log-level warn)
(cd cli && go generate ./...)
go generate ./...
