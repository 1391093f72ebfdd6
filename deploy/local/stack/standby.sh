# shellcheck shell=bash disable=SC2034,SC2154
# A second PostgreSQL that follows the first, for switch-overs. Sourced by stack.sh.

standby_pid() { recorded "$PG_HOME/standby/postmaster.pid"; }
standby_runs() { alive "$(standby_pid)" "$PG_HOME/standby"; }

sql() { # port statement
  PGPASSWORD=$PG_PASSWORD timeout 30 "$PG_BIN/psql" -qAtX -h 127.0.0.1 -p "$1" -U carillon -d postgres -c "$2"
}

start_standby() {
  postgres_runs || die "postgresql does not run"
  if standby_runs; then return; fi
  rm -rf "$PG_HOME/standby"
  say "standby: copying"
  # Its password goes into the copy's settings, which only its owner reads.
  (cd / && as_postgres env PGPASSWORD="$PG_PASSWORD" "$PG_BIN/pg_basebackup" -h 127.0.0.1 -p "$PG_PORT" -U carillon \
    -D "$PG_HOME/standby" -R -X stream -c fast) >"$DIR/basebackup.log" 2>&1 9>&- || die "no copy, see $DIR/basebackup.log"
  launch_standby
  sql "$PG_PORT" "ALTER SYSTEM SET synchronous_standby_names = '*'" >/dev/null
  sql "$PG_PORT" "SELECT pg_reload_conf()" >/dev/null
  say "standby: follows on 127.0.0.1:$STANDBY_PORT"
}

launch_standby() {
  load_standby
  if [[ -z $STANDBY_PORT ]] || port_open "$STANDBY_PORT"; then STANDBY_PORT=$(free_ports 1); fi
  echo "STANDBY_PORT=$STANDBY_PORT" >"$DIR/standby"
  launch_postgres_in standby "$STANDBY_PORT"
}

# After a stop: the first one waits for the second at each commit, and once they were switched only the second can be written to.
bring_standby_back() {
  [[ -f $DIR/standby ]] || return 0
  if standby_runs; then return; fi
  if [[ ! -f $PG_HOME/standby/PG_VERSION ]]; then
    forget_standby
    return
  fi
  launch_standby
  say "standby: back on 127.0.0.1:$STANDBY_PORT"
}

# Its data are gone: nobody is to wait for it.
forget_standby() {
  say "standby: there is none any more"
  sql "$PG_PORT" "ALTER SYSTEM RESET synchronous_standby_names" >/dev/null
  sql "$PG_PORT" "SELECT pg_reload_conf()" >/dev/null
  rm -f "$DIR/standby"
}

switch_postgres() {
  standby_runs || die "there is no standby"
  load_standby
  stop_postgres KILL
  (cd / && as_postgres "$PG_BIN/pg_ctl" -D "$PG_HOME/standby" -w promote) >>"$DIR/pg_ctl.log" 2>&1 9>&- || die "no promotion, see $DIR/pg_ctl.log"
  # As a former primary that somebody brought back: nobody writes to it, and whoever is connected must notice.
  as_postgres touch "$PG_HOME/data/standby.signal"
  launch_postgres
  say "standby: promoted on 127.0.0.1:$STANDBY_PORT, the former primary can be read on 127.0.0.1:$PG_PORT"
}

adopt_standby() {
  standby_runs || die "there is no standby"
  stop_postgres TERM
  end_process standby "$(standby_pid)" "$PG_HOME/standby" INT
  rm -rf "$PG_HOME/data" "$DIR/standby"
  mv "$PG_HOME/standby" "$PG_HOME/data"
  launch_postgres
  say "postgresql: the former standby runs on 127.0.0.1:$PG_PORT"
}

load_standby() {
  STANDBY_PORT=
  if [[ -f $DIR/standby ]]; then STANDBY_PORT=$(sed -n 's/^STANDBY_PORT=//p' "$DIR/standby"); fi
}

stop_standby() {
  standby_runs || return 0
  end_process standby "$(standby_pid)" "$PG_HOME/standby" INT
}
