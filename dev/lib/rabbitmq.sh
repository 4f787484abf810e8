# shellcheck shell=bash
# RabbitMQ and its Erlang port mapper: data in DIR/rabbit and DIR/epmd. Logs:
# DIR/rabbit/log/rabbit.log (the node), DIR/log/rabbitmq.log (the start).
# Sourced by dev/stack.

MQ_SBIN='' ERL_PATH='' MQ_LIB=''

mq_url() { echo "amqp://guest:guest@127.0.0.1:${AMQP_PORT:-0}/%2f"; }

# Sets MQ_SBIN (rabbitmq-server and rabbitmqctl) and ERL_PATH (erl and epmd).
mq_find() {
  local found
  if MQ_SBIN=$(glob_last "$ROOT"/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin); then
    ERL_PATH=$ROOT/usr/lib/erlang/bin
    MQ_LIB=$(library_path)
    return
  fi
  MQ_LIB=
  # Packaged commands in /usr/sbin are wrappers that insist on the user
  # `rabbitmq` and on /var/log; the real scripts are next to them.
  found=$(type -P rabbitmq-server) || return 1
  for found in /usr/lib/rabbitmq/bin/rabbitmq-server "$found"; do
    if [[ -x $found ]]; then MQ_SBIN=$(dirname "$(realpath "$found")"); break; fi
  done
  found=$(type -P erl) || { say "rabbitmq-server is on PATH but erl is not"; return 1; }
  ERL_PATH=$(dirname "$(realpath "$found")"):$(dirname "$found")
  # Where epmd is not linked to, it sits in the runtime's own folder.
  found=$(glob_last "$(dirname "$(realpath "$found")")"/../erts-*/bin) && ERL_PATH+=:$found
  say "using RabbitMQ from $MQ_SBIN"
}

# The whole environment of node, epmd and rabbitmqctl. Nothing of the caller's
# passes: a stray RABBITMQ_* would move the node to other folders, and the
# defaults of every file left out here are in /etc/rabbitmq.
mq_env() {
  local r=$DIR/rabbit schedulers loopback='-kernel inet_dist_use_interface {127,0,0,1}'
  # A test machine with many cores does not need a scheduler thread for each, per stack.
  schedulers=$(nproc)
  if ((schedulers > 4)); then schedulers=4; fi
  printf '%s\n' \
    "PATH=$ERL_PATH:/usr/local/bin:/usr/bin:/bin" "HOME=$r/home" \
    LANG=C.UTF-8 LC_ALL=C.UTF-8 \
    "RABBITMQ_NODENAME=$NODE" \
    "RABBITMQ_MNESIA_BASE=$r/mnesia" \
    "RABBITMQ_LOG_BASE=$r/log" \
    "RABBITMQ_PID_FILE=$r/rabbit.pid" \
    "RABBITMQ_CONFIG_FILE=$r/etc/rabbitmq.conf" \
    "RABBITMQ_ADVANCED_CONFIG_FILE=$r/etc/advanced.config" \
    "RABBITMQ_ENABLED_PLUGINS_FILE=$r/etc/enabled_plugins" \
    "RABBITMQ_GENERATED_CONFIG_DIR=$r/gen" \
    RABBITMQ_CONF_ENV_FILE=/dev/null \
    "RABBITMQ_DIST_PORT=$DIST_PORT" \
    "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+S $schedulers:$schedulers +sbwt none $loopback" \
    "RABBITMQ_CTL_ERL_ARGS=$loopback" \
    RABBITMQ_CTL_DIST_PORT_MIN=32001 RABBITMQ_CTL_DIST_PORT_MAX=32700 \
    ERL_EPMD_ADDRESS=127.0.0.1 "ERL_EPMD_PORT=$EPMD_PORT" \
    "ERL_CRASH_DUMP=$r/log/erl_crash.dump" \
    RUNNING_UNDER_SYSTEMD=true
  # ^ the start script then execs Erlang instead of watching it from a shell:
  #   the pid we spawned is the broker, and SIGKILL leaves no shell behind.
  [[ -z $MQ_LIB ]] || printf '%s\n' "LD_LIBRARY_PATH=$MQ_LIB"
}

mq_pid() { live_pid "$DIR/rabbit" "$DIR/rabbitmq.pid" "$DIR/rabbit/rabbit.pid"; }
mq_running() { mq_pid >/dev/null; }

mq_state() {
  local pid
  if ! pid=$(mq_pid); then echo "stopped"
  elif [[ $(proc_state "$pid") == T ]]; then echo "frozen, pid $pid, port $AMQP_PORT"
  else echo "running, pid $pid, port $AMQP_PORT, node $NODE"; fi
}

mq_write_config() {
  local r=$DIR/rabbit memory
  own_dir 755 "$r" "$r/mnesia" "$r/log" "$r/home" "$r/gen" "$DIR/epmd"
  mkdir -p "$r/etc"
  # 4 GB, or half of a smaller machine: enough that a queue of test messages does
  # not block publishers, not enough to push the rest of the machine out.
  memory=$(awk '/^MemTotal:/{m = int($2 / 2 / 1024); print (m > 4096 ? 4096 : m)}' /proc/meminfo)
  cat >"$r/etc/rabbitmq.conf" <<TEXT
listeners.tcp.1 = 127.0.0.1:$AMQP_PORT
log.console = false
log.file = rabbit.log
vm_memory_high_watermark.absolute = ${memory}MB
disk_free_limit.absolute = 50MB
TEXT
  if [[ -r $DIR/rabbitmq.extra.conf ]]; then cat "$DIR/rabbitmq.extra.conf" >>"$r/etc/rabbitmq.conf"; fi
  echo '[].' >"$r/etc/advanced.config"
  # Kept when there: a developer may have enabled a plugin by hand.
  [[ -e $r/etc/enabled_plugins ]] || echo '[].' >"$r/etc/enabled_plugins"
  if [[ ! -e $r/home/.erlang.cookie ]]; then
    # Erlang refuses a cookie that others can read.
    (umask 077; od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$r/home/.erlang.cookie")
    chmod 400 "$r/home/.erlang.cookie"
    if [[ ${#AS_USER[@]} -gt 0 ]]; then chown "$RUN_USER:$RUN_GROUP" "$r/home/.erlang.cookie"; fi
  fi
}

# Erlang starts its port mapper by itself, but does not wait for it: on a busy
# machine the node then asks too early and gives up ("nodistribution ...
# econnrefused"). So it is started first and waited for.
epmd_start() {
  local -a env
  local end=$((SECONDS + 20))
  if live_pid "$DIR/epmd" "$DIR/epmd.pid" >/dev/null; then return; fi
  kill_all_in "$DIR/epmd"
  if port_open "$EPMD_PORT"; then
    die "port $EPMD_PORT of this stack is taken by another process; free it, or: dev/stack wipe $DIR"
  fi
  mapfile -t env < <(mq_env)
  # Not -daemon: that would fork to a pid we do not know.
  spawn epmd "$DIR/epmd" env -i "${env[@]}" epmd -address 127.0.0.1 -port "$EPMD_PORT"
  until port_open "$EPMD_PORT"; do
    if ! live_pid "$DIR/epmd" "$DIR/epmd.pid" >/dev/null || ((SECONDS >= end)); then
      die_with_log "$DIR/log/epmd.log" "Erlang's port mapper did not start; cure what the log says, then: dev/stack up $DIR"
    fi
    sleep 0.02
  done
}

# It outlives the node, by design of Erlang.
epmd_stop() {
  kill_all_in "$DIR/epmd"
  rm -f "$DIR/epmd.pid"
}

mq_spawn() {
  local -a env
  # Helpers of a node that was killed from outside may linger for a moment.
  kill_all_in "$DIR/rabbit"
  if port_open "$AMQP_PORT" || port_open "$DIST_PORT"; then
    die "port $AMQP_PORT or $DIST_PORT of this stack is taken by another process; free it, or: dev/stack wipe $DIR"
  fi
  mq_write_config
  epmd_start
  mapfile -t env < <(mq_env)
  # The start log is of this start only; what the node has to say later is in rabbit.log.
  rm -f "$DIR/rabbit/rabbit.pid" "$DIR/log/rabbitmq.log"
  spawn rabbitmq "$DIR/rabbit" env -i "${env[@]}" "$MQ_SBIN/rabbitmq-server"
  say "starting RabbitMQ on port $AMQP_PORT"
}

# An open port is not enough: a frozen or booting broker accepts, too. A working
# one answers the protocol header with a Connection.Start frame (type 1, channel
# 0, four bytes of size, class 10, method 10).
mq_ready() {
  local answer
  # shellcheck disable=SC2016 # $1 is for the inner shell
  answer=$(timeout 3 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && printf "AMQP\0\0\x09\x01" >&3 &&
    head -c 11 <&3 | od -An -v -tx1' _ "$AMQP_PORT" 2>/dev/null) || return 1
  [[ ${answer//[[:space:]]/} =~ ^010000[0-9a-f]{8}000a000a$ ]]
}

mq_wait_ready() {
  local end=$((SECONDS + TIMEOUT))
  until mq_ready; do
    if has_ended rabbitmq mq_running; then
      # A dying node's last lines are Erlang's account of itself; the cause comes first.
      echo "---- first errors in $DIR/log/rabbitmq.log" >&2
      grep -vE '^[[:space:]]*$' "$DIR/log/rabbitmq.log" | grep -E -m 12 -A 2 'rror|terminated|not found' | cut -c1-300 | head -n 25 >&2 || true
      echo "----" >&2
      die "RabbitMQ ended while starting$ENDED; cure what the log says (is localhost in /etc/hosts?), then: dev/stack up $DIR"
    fi
    ((SECONDS < end)) ||
      die_with_log "$DIR/rabbit/log/rabbit.log" "RabbitMQ did not become ready in $TIMEOUT s; if the machine is slow, raise RELAY_DEV_TIMEOUT"
    sleep 0.05
  done
}

mq_request_stop() {
  local pid
  pid=$(mq_pid) || return 0
  mq_thaw
  # A booting node acts on TERM only much later, if at all. It has served nobody
  # yet, so it may as well be killed.
  if mq_ready; then kill -TERM "$pid" 2>/dev/null || true; else kill_all_in "$DIR/rabbit"; fi
}
mq_wait_stopped() {
  wait_none_in "$DIR/rabbit" 30 || say "RabbitMQ does not stop: killing it"
  kill_all_in "$DIR/rabbit"
  rm -f "$DIR/rabbitmq.pid"
}

# The node together with its helpers (erl_child_setup, inet_gethost). The port
# mapper stays, as it would after a crash.
mq_kill() {
  kill_all_in "$DIR/rabbit"
  rm -f "$DIR/rabbitmq.pid"
}

# The helpers are frozen, too: erl_child_setup would otherwise notice nothing,
# but a frozen machine has no half that still runs.
mq_freeze() { signal_all STOP "$DIR/rabbit"; }
mq_thaw() {
  local pid
  pid=$(mq_pid) || return 0
  [[ $(proc_state "$pid") == T ]] || return 0
  signal_all CONT "$DIR/rabbit"
}

mq_ctl() {
  local -a env
  [[ -n $AMQP_PORT ]] || die "there is no stack in $DIR; start one with: dev/stack up $DIR"
  mq_find || die "rabbitmqctl not found; run: dev/stack fetch"
  mapfile -t env < <(mq_env)
  # As the node's user: the cookie is readable for nobody else.
  cd "$DIR/rabbit" || exit
  exec "${AS_USER[@]}" env -i "${env[@]}" "$MQ_SBIN/rabbitmqctl" "$@"
}
