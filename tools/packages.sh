#!/usr/bin/env bash
# Sees to it that the programs are there which the Go module proxy cannot give.
#
#   tools/packages.sh run    Postgres
#   tools/packages.sh test   Postgres, a browser, a C compiler (sqlc, -race), and
#                            debootstrap where a container engine answers
#
# As root on a Debian-like system what is missing is installed. Anybody else is
# told the one line that does it; `run` then goes on all the same, because the
# program knows a way without.
set -euo pipefail

need() { # need PACKAGE TEST…: the package is missing unless one of the tests holds
	local package=$1 pattern
	shift
	for pattern in "$@"; do
		case $pattern in
		/*) compgen -G "$pattern" >/dev/null && return 0 ;;
		*) command -v "$pattern" >/dev/null && return 0 ;;
		esac
	done
	missing+=("$package")
}

missing=()
if [ -z "${SYN_DATABASE_URL:-}${SYN_TEST_DATABASE_URL:-}${SYN_TEST_PG_BIN:-}" ]; then
	need postgresql initdb '/usr/lib/postgresql/*/bin/initdb' '/usr/pgsql-*/bin/initdb' \
		'/opt/homebrew/opt/postgresql@*/bin/initdb' '/usr/local/opt/postgresql@*/bin/initdb'
fi
if [ "${1:-}" = test ]; then
	need chromium chromium chromium-browser google-chrome google-chrome-stable \
		'/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'
	need gcc gcc cc clang
	need libc6-dev /usr/include/stdlib.h '/Library/Developer/*'
	if docker info >/dev/null 2>&1; then
		need debootstrap debootstrap
	fi
fi
[ ${#missing[@]} = 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
	line="install with your package manager: ${missing[*]} (Debian's names)"
elif [ "$(id -u)" = 0 ]; then
	echo "installing ${missing[*]}" >&2
	export DEBIAN_FRONTEND=noninteractive
	# Debian starts a server of its own when Postgres is installed; we need only its binaries.
	install -d /etc/postgresql-common
	[ -e /etc/postgresql-common/createcluster.conf ] || echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
	log=$(mktemp)
	if { apt-get update -q && apt-get install -y -q --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
		rm -f "$log"
		exit 0
	fi
	tail -n 20 "$log" >&2
	line="apt-get did not install ${missing[*]} (all it said: $log)"
else
	line="sudo apt-get install -y ${missing[*]}"
fi
echo "missing here: ${missing[*]}. This installs it:" >&2
echo "    $line" >&2
[ "${1:-}" = run ]
