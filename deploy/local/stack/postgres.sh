# shellcheck shell=bash disable=SC2034,SC2154
# PostgreSQL. Sourced by stack.sh.

# PostgreSQL refuses to run as root, and its user must be able to reach the data.
as_postgres() {
  if [[ $(id -u) -ne 0 ]]; then
    "$@"
  elif command -v runuser >/dev/null; then
    runuser -u postgres -- "$@"
  else
    setpriv --reuid=postgres --regid=postgres --init-groups "$@"
  fi
}

choose_pg_home() {
  if [[ $(id -u) -ne 0 ]] || as_postgres test -x "$DIR" 2>/dev/null; then
    echo "$DIR/postgres"
  else
    mktemp -d "${TMPDIR:-/tmp}/carillon-postgres.XXXXXX"
  fi
}

prepare_postgres() {
  [[ -f $PG_HOME/data/PG_VERSION && -f $PG_HOME/ready ]] && return
  mkdir -p "$PG_HOME"
  rm -rf "$PG_HOME/data"
  (umask 077 && echo "$PG_PASSWORD" >"$PG_HOME/password")
  if [[ $(id -u) -eq 0 ]]; then chown -R postgres: "$PG_HOME"; fi
  chmod 700 "$PG_HOME"
  as_postgres "$PG_BIN/initdb" -D "$PG_HOME/data" -U carillon --auth=scram-sha-256 --pwfile="$PG_HOME/password" \
    -E UTF8 --locale=C.UTF-8 --data-checksums >"$DIR/initdb.log" 2>&1 || die "initdb failed, see $DIR/initdb.log"
  {
    echo "listen_addresses = '127.0.0.1'"
    echo "unix_socket_directories = ''" # a socket's path may not be longer than 107 bytes; DIR may
    echo "shared_buffers = ${STACK_SHARED_BUFFERS:-256MB}"
    echo "max_connections = 300"
    echo "fsync = on"
    echo "synchronous_commit = on"
    echo "timezone = 'UTC'"
  } >>"$PG_HOME/data/postgresql.conf"
}

postgres_pid() { recorded "$PG_HOME/data/postmaster.pid"; }
postgres_runs() { alive "$(postgres_pid)" "$PG_HOME/data"; }

launch_postgres() { launch_postgres_in data "$PG_PORT"; }

launch_postgres_in() { # directory port
  # pg_ctl waits until the server takes connections, and for an unclean shutdown's recovery.
  (cd / && as_postgres "$PG_BIN/pg_ctl" -D "$PG_HOME/$1" -l "$PG_HOME/postgres.log" -o "-p $2" \
    -t "$START_SECONDS" -w start) \
    >"$DIR/pg_ctl.log" 2>&1 </dev/null 9>&- || die "postgresql does not start, see $PG_HOME/postgres.log"
}

start_postgres() {
  if postgres_runs; then
    say "postgresql: running on 127.0.0.1:$PG_PORT"
    return
  fi
  local began=$SECONDS
  say "postgresql: starting on 127.0.0.1:$PG_PORT"
  prepare_postgres
  launch_postgres
  if [[ ! -f $PG_HOME/ready ]]; then
    PGPASSWORD=$PG_PASSWORD timeout 30 "$PG_BIN/psql" -qX -h 127.0.0.1 -p "$PG_PORT" -U carillon -d postgres \
      -c 'CREATE DATABASE carillon' >"$DIR/createdb.log" 2>&1 || die "no database, see $DIR/createdb.log"
    touch "$PG_HOME/ready"
  fi
  say "postgresql: ready after $((SECONDS - began)) s"
}

stop_postgres() { # signal
  postgres_runs || return 0
  say "postgresql: stopping ($([[ $1 == KILL ]] && echo SIGKILL || echo fast))"
  local pid backends backend
  pid=$(postgres_pid)
  if [[ $1 != KILL ]]; then
    end_process postgresql "$pid" "$PG_HOME/data" INT # SIGINT is PostgreSQL's fast shutdown
    return
  fi
  backends=$(ps -o pid= --ppid "$pid" 2>/dev/null || true)
  end_process postgresql "$pid" "$PG_HOME/data" KILL
  # Orphaned backends hold the shared memory until they notice; a new postmaster refuses to start before that.
  for backend in $backends; do
    wait_gone "$backend" postgres "$STOP_SECONDS" || die "backend $backend outlives its postmaster"
  done
}
