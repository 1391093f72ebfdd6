# shellcheck shell=bash disable=SC2034,SC2154
# The whole stack: start, stop, what is shown of it. Sourced by stack.sh.

write_env() {
  (
    umask 077
    {
      echo "CARILLON_AMQP__URL=amqp://carillon:$AMQP_PASSWORD@127.0.0.1:$AMQP_PORT/%2f"
      echo "CARILLON_DATABASE__URL=postgres://carillon:$PG_PASSWORD@127.0.0.1:$PG_PORT/carillon"
      if grep -q management "$RABBIT/enabled_plugins" 2>/dev/null; then
        echo "STACK_MANAGEMENT_URL=http://carillon:$AMQP_PASSWORD@127.0.0.1:$MANAGEMENT_PORT"
        echo "STACK_PROMETHEUS_URL=http://127.0.0.1:$PROMETHEUS_PORT/metrics"
      fi
      echo "STACK_BROKER_PID=$(broker_pid)"
      echo "STACK_EPMD_PID=$(epmd_pid)"
      echo "STACK_POSTGRES_PID=$(postgres_pid)"
      echo "STACK_POSTGRES_HOME=$PG_HOME"
      load_standby
      if [[ -n $STANDBY_PORT ]]; then echo "STACK_STANDBY_PORT=$STANDBY_PORT"; fi
    } >"$ENV_FILE.new"
  )
  mv "$ENV_FILE.new" "$ENV_FILE"
}

start_all() {
  local broker code=0
  start_broker &
  broker=$!
  (start_postgres && bring_standby_back) || code=1
  wait "$broker" || code=1
  [[ $code -eq 0 ]] || die "not everything started"
  write_env
  say "ready: $ENV_FILE"
}

stop_all() {
  (
    stop_broker TERM
    stop_epmd
  ) &
  local broker=$! code=0
  (stop_standby && stop_postgres TERM) || code=1
  wait "$broker" || code=1
  [[ $code -eq 0 ]] || die "not everything stopped"
  rm -f "$ENV_FILE"
  if [[ $WIPE -eq 1 ]]; then
    rm -rf "$PG_HOME" "$RABBIT" "$PORTS" "$DIR/standby"
    say "data deleted"
  fi
  say "stopped"
}

show_status() {
  local code=0
  if broker_runs && broker_answers; then echo "rabbitmq   up    127.0.0.1:$AMQP_PORT  pid $(broker_pid)"; else
    echo "rabbitmq   down"
    code=3
  fi
  if postgres_runs; then echo "postgresql up    127.0.0.1:$PG_PORT  pid $(postgres_pid)"; else
    echo "postgresql down"
    code=3
  fi
  return "$code"
}

print_env() {
  [[ -f $ENV_FILE ]] || die "not started: no $ENV_FILE"
  local key value
  while IFS='=' read -r key value; do
    printf "export %s='%s'\n" "$key" "$value"
  done <"$ENV_FILE"
}
