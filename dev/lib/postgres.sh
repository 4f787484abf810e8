# shellcheck shell=bash
# Postgres: data in DIR/pg, log in DIR/log/postgres.log. Sourced by dev/stack.

PG_BIN='' PG_LIB=''

pg_url() { echo "postgres://postgres@127.0.0.1:${PG_PORT:-0}/postgres"; }

# Sets PG_BIN. The unpacked server goes first: what is on PATH may be any version.
pg_find() {
  local found
  if PG_BIN=$(glob_last "$ROOT"/usr/lib/postgresql/*/bin); then
    PG_LIB=$(library_path)
    return
  fi
  PG_LIB=
  found=$(type -P initdb) || found=$(glob_last /usr/lib/postgresql/*/bin/initdb) || return 1
  PG_BIN=$(dirname "$(realpath "$found")")
  [[ -x $PG_BIN/postgres ]] || return 1
  say "using Postgres from $PG_BIN"
}

# A clean environment: PGDATA, PGPORT and the like must not reach the server, and
# the caller's secrets have no place in a daemon.
pg_env() {
  printf '%s\n' PATH=/usr/local/bin:/usr/bin:/bin LC_ALL=C.UTF-8 "HOME=$DIR/pg"
  [[ -z $PG_LIB ]] || printf '%s\n' "LD_LIBRARY_PATH=$PG_LIB"
}

pg_pid() { live_pid "$DIR/pg" "$DIR/postgres.pid" "$DIR/pg/postmaster.pid"; }
pg_running() { pg_pid >/dev/null; }

pg_state() {
  local pid
  if ! pid=$(pg_pid); then echo "stopped"
  elif [[ $(proc_state "$pid") == T ]]; then echo "frozen, pid $pid, port $PG_PORT"
  else echo "running, pid $pid, port $PG_PORT"; fi
}

pg_init() {
  local -a env
  [[ ! -e $DIR/pg/PG_VERSION ]] || return 0
  [[ $RUN_USER == *[!0-9]* ]] ||
    die "user id $RUN_USER has no name, and initdb insists on one; run this as a user that" \
      "/etc/passwd knows (or as root), or set DATABASE_URL"
  mapfile -t env < <(pg_env)
  # Initialised aside and moved, so that an interrupted initdb is not taken for a
  # cluster. No sync: data that does not exist yet cannot be lost.
  rm -rf "$DIR/pg" "$DIR/pg.new"
  own_dir 700 "$DIR/pg.new"
  (cd "$DIR/pg.new" && as_user env -i "${env[@]}" "$PG_BIN/initdb" -D "$DIR/pg.new" \
    -U postgres -A trust -E UTF8 --locale=C -N) >"$DIR/log/initdb.log" 2>&1 </dev/null ||
    die_with_log "$DIR/log/initdb.log" "initdb failed; cure what the log says, then: dev/stack wipe $DIR && dev/stack up $DIR"
  mv "$DIR/pg.new" "$DIR/pg"
}

# After a kill, postmaster.pid and the socket's lock file still name the old pid.
# Postgres refuses to start while that pid exists, be it a zombie that init has not
# collected yet or somebody else's process by now. But postmaster.pid also holds
# the id of the shared memory by which Postgres detects survivors, so it is removed
# only when no server process is left in the folder.
pg_clear_stale_pid() {
  kill_all_in "$DIR/pg"
  rm -f "$DIR"/run/.s.PGSQL.*
  [[ -e $DIR/pg/postmaster.pid ]] || return 0
  local pid
  read -r pid <"$DIR/pg/postmaster.pid" || pid=
  [[ -n $pid && -e /proc/$pid ]] || return 0
  pg_release_ipc
  rm -f "$DIR/pg/postmaster.pid"
}

# A killed Postgres leaves its System V segment behind. The next start would
# reclaim it; when there will be no next start we have to.
pg_release_ipc() {
  local shm
  [[ -r $DIR/pg/postmaster.pid ]] || return 0
  shm=$(sed -n 7p "$DIR/pg/postmaster.pid" | awk '{print $2}')
  [[ -z $shm ]] || as_user ipcrm -m "$shm" 2>/dev/null || true
}

pg_spawn() {
  local -a env args
  local socket="$DIR/run" extra=()
  pg_clear_stale_pid
  if port_open "$PG_PORT"; then
    die "port $PG_PORT of this stack is taken by another process; free it, or: dev/stack wipe $DIR"
  fi
  pg_init
  mapfile -t env < <(pg_env)
  # A socket's path may have 107 bytes; everything here connects by TCP, so do without.
  local path="$socket/.s.PGSQL.$PG_PORT"
  if (($(printf %s "$path" | wc -c) > 107)); then socket=; else own_dir 755 "$socket"; fi
  args=(
    -c listen_addresses=127.0.0.1
    -c "port=$PG_PORT"
    -c "unix_socket_directories=$socket"
    -c max_connections=200
    -c shared_buffers=256MB
    # Files in DIR: nothing stays in /dev/shm after a kill, and it is small in containers.
    -c dynamic_shared_memory_type=mmap
    # Queue statements are short: compiling them never pays, and LLVM is not unpacked.
    -c jit=off
    -c log_checkpoints=off
  )
  if [[ -r $DIR/pg.opts ]]; then read -r -d '' -a extra <"$DIR/pg.opts" || true; fi
  spawn postgres "$DIR/pg" env -i "${env[@]}" "$PG_BIN/postgres" -D "$DIR/pg" "${args[@]}" "${extra[@]}"
  say "starting Postgres on port $PG_PORT"
}

# The postmaster writes its state into line 8 of its pid file; this needs no client.
pg_ready() {
  local pid status
  pid=$(pg_pid) || return 1
  [[ $(sed -n 1p "$DIR/pg/postmaster.pid" 2>/dev/null) == "$pid" ]] || return 1
  read -r status < <(sed -n 8p "$DIR/pg/postmaster.pid" 2>/dev/null) || return 1
  [[ $status == ready ]] && port_open "$PG_PORT"
}

pg_wait_ready() {
  local end=$((SECONDS + TIMEOUT))
  until pg_ready; do
    ! has_ended postgres pg_running ||
      die_with_log "$DIR/log/postgres.log" "Postgres ended while starting$ENDED; cure what the log says, then: dev/stack up $DIR"
    ((SECONDS < end)) ||
      die_with_log "$DIR/log/postgres.log" "Postgres did not become ready in $TIMEOUT s; if the machine is slow, raise RELAY_DEV_TIMEOUT"
    sleep 0.05
  done
}

# INT is "fast shutdown": clients are disconnected, a checkpoint is written.
pg_request_stop() {
  local pid
  pid=$(pg_pid) || return 0
  pg_thaw
  kill -INT "$pid" 2>/dev/null || true
}
pg_wait_stopped() {
  wait_none_in "$DIR/pg" 30 || say "Postgres does not stop: killing it"
  kill_all_in "$DIR/pg"
  rm -f "$DIR/postgres.pid"
}

# SIGKILL for all at once: with the postmaster alone gone, its backends would end
# a moment later and could still answer their clients.
pg_kill() {
  kill_all_in "$DIR/pg"
  rm -f "$DIR/postgres.pid"
}

# The postmaster first, so that no backend is forked behind our back.
pg_freeze() {
  local pid
  pid=$(pg_pid) || return 0
  kill -STOP "$pid"
  signal_all STOP "$DIR/pg"
}
pg_thaw() {
  local pid
  pid=$(pg_pid) || return 0
  [[ $(proc_state "$pid") == T ]] || return 0
  signal_all CONT "$DIR/pg"
}

pg_psql() {
  [[ -n $PG_PORT ]] || die "there is no stack in $DIR; start one with: dev/stack up $DIR"
  local psql
  if psql=$(glob_last "$ROOT"/usr/lib/postgresql/*/bin/psql); then
    LD_LIBRARY_PATH=$(library_path)
    export LD_LIBRARY_PATH
  else
    psql=$(type -P psql) || die "psql not found; run: dev/stack fetch, or install a Postgres client"
  fi
  unset PGSERVICE PGHOSTADDR PGPASSWORD PGOPTIONS
  export PGHOST=127.0.0.1 PGPORT=$PG_PORT PGUSER=postgres PGDATABASE=postgres
  # -X: the same output whatever is in the caller's .psqlrc.
  exec "$psql" -X "$@"
}
