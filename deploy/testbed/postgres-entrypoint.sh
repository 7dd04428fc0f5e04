#!/bin/sh
# What docker-compose.yml needs of the public Postgres image, for the stand-in
# that is built where no registry can be reached: initdb with the password file,
# the database, the scripts of /docker-entrypoint-initdb.d, then Postgres as the
# user of that name.
set -eu
PATH=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1):$PATH
export PATH
: "${PGDATA:=/var/lib/postgresql/data}" "${POSTGRES_USER:=postgres}" "${POSTGRES_DB:=$POSTGRES_USER}"

[ "${1:-postgres}" = postgres ] || exec "$@"

if [ "$(id -u)" = 0 ]; then
	mkdir -p "$PGDATA" /var/run/postgresql
	chown postgres:postgres "$PGDATA" /var/run/postgresql
	chmod 0700 "$PGDATA"
	# Read while we are root: the file need not be readable by postgres.
	if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
		POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
		export POSTGRES_PASSWORD
		unset POSTGRES_PASSWORD_FILE
	fi
	exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
	: "${POSTGRES_PASSWORD:?a password or POSTGRES_PASSWORD_FILE is needed}"
	secret=$(mktemp)
	printf '%s\n' "$POSTGRES_PASSWORD" >"$secret"
	initdb -D "$PGDATA" -U "$POSTGRES_USER" --pwfile="$secret" -E UTF8 --auth-local=trust --auth-host=scram-sha-256
	rm -f "$secret"
	echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
	pg_ctl -D "$PGDATA" -w -o '-c listen_addresses=' start
	if [ "$POSTGRES_DB" != postgres ]; then
		createdb -U "$POSTGRES_USER" "$POSTGRES_DB"
	fi
	for script in /docker-entrypoint-initdb.d/*; do
		case $script in
		*.sh) if [ -x "$script" ]; then "$script"; else . "$script"; fi ;;
		*.sql) psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -f "$script" ;;
		esac
	done
	pg_ctl -D "$PGDATA" -m fast -w stop
fi
unset POSTGRES_PASSWORD
shift 2>/dev/null || true
exec postgres -D "$PGDATA" -c listen_addresses='*' "$@"
