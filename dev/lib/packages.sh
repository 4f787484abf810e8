# shellcheck shell=bash
# The server programs: Debian packages, downloaded and unpacked but not installed.
# Sourced by dev/stack.

docker_advice() {
  local compose
  compose=$(realpath --relative-to="$PWD" "$HERE/compose.yaml" 2>/dev/null) || compose=dev/compose.yaml
  cat <<TEXT
Do one of these:
  1. install the servers so that initdb, postgres and rabbitmq-server are on PATH, and run this again;
  2. use containers:
       docker compose -f $compose up -d --wait
       export DATABASE_URL=postgres://postgres@127.0.0.1:55432/postgres
       export AMQP_URL=amqp://guest:guest@127.0.0.1:55672/%2f
  3. point DATABASE_URL and AMQP_URL at servers you have.
TEXT
}

unpacked() { [[ -e ${1:-$ROOT}/.unpacked ]]; } # [FOLDER]

root_in_use() { # does any process run a program from the unpacked packages?
  local exe
  while read -r exe; do
    [[ $exe != "$ROOT"/* ]] || return 0
  done < <(find /proc/[0-9]*/exe -maxdepth 0 -printf '%l\n' 2>/dev/null)
  return 1
}

# Makes sure the programs are there and sets the paths to those that are wanted.
# Leaves the packages locked against `wipe` until we exit.
find_servers() { # PG MQ (non-empty: wanted)
  # Fails only for a folder somebody else owns; then nobody here can wipe it.
  lock_root shared || true
  if ! unpacked && [[ ${RELAY_DEV_FETCH:-1} != 0 ]]; then
    fetch_packages || say "looking for the servers on PATH instead"
    lock_root shared || true
  fi
  [[ -z $1 ]] || pg_find || die "no Postgres server found. $(docker_advice)"
  [[ -z $2 ]] || mq_find || die "no RabbitMQ server found. $(docker_advice)"
  unpacked || return 0
  # Unpacked by root under a closed folder, or by another user with a strict umask.
  as_user test -r "$ROOT/.unpacked" ||
    die "user $RUN_USER, which runs the servers, cannot read $ROOT;" \
      "set RELAY_DEV_ROOT to a folder that user can enter"
}

fetch_packages() { fetch "the server packages" "30 MB" "$ROOT" list_packages check_programs; }

# Downloads Debian packages and unpacks them into TARGET, which is there whole or not at all.
# LIST prints their names, given apt's configuration; CHECK, given the folder, makes them fit to run and tries them.
fetch() { # WHAT SIZE TARGET LIST CHECK
  local what=$1 target=$3 tool work log
  for tool in apt-get apt-cache dpkg-deb; do
    command -v "$tool" >/dev/null || { say "$tool not found: cannot fetch $what"; return 1; }
  done
  lock_root exclusive || { say "cannot write to $(dirname "$ROOT")"; return 1; }
  # Somebody else may have fetched them while we waited for the lock.
  if unpacked "$target"; then return 0; fi
  # What an interrupted fetch left behind; we hold the lock, so nobody uses it.
  rm -rf "$target" "$target".part.*
  work=$target.part.$$ log=$(dirname "$ROOT")/fetch.log
  mkdir -p "$work"
  say "fetching $what (once, about $2) into $target"
  # A subshell so that one failing step leads here, with the log at hand.
  # (bash ignores `set -e` left of `||`, so the steps are chained.)
  if (unpack_into "$work" "$4" "$5") >"$log" 2>&1; then
    mv "$work/root" "$target"
    rm -rf "$work" "$log"
    return 0
  fi
  { echo "---- last lines of $log"; tail -n 25 "$log"; echo "----"; } >&2
  rm -rf "$work"
  say "fetching $what failed (see the lines above; network, package sources?)"
  return 1
}

# apt with its state in our folder. The system's sources, keys and credentials
# are used, but nothing is written to the system, and no hook of it runs (they
# clean caches and refresh indexes outside our folder). `#clear` works only in a
# file given with -c, which is read after the system's.
write_apt_conf() { # WORK
  mkdir -p "$1"/state/lists/partial "$1"/cache/archives/partial
  cat >"$1/apt.conf" <<TEXT
Dir::State "$1/state";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "$1/cache";
Dir::Log "$1";
APT::Sandbox::User "";
Debug::NoLocking "1";
Acquire::Languages "none";
Acquire::Retries "3";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Update::Post-Invoke-Stats;
TEXT
}

unpack_into() { # WORK LIST CHECK
  local work=$1 conf=$1/apt.conf packages
  write_apt_conf "$work"
  # One broken source of many is no reason to stop: the next step will tell.
  apt-get -qq -c "$conf" update || true
  packages=$("$2" "$conf") || { echo "no packages found to fetch"; return 1; }
  # shellcheck disable=SC2086 # one word per package
  unpack_packages "$work" $packages || return 1
  "$3" "$work/root" && touch "$work/root/.unpacked"
}

unpack_packages() { # WORK PACKAGES...
  local work=$1; shift
  mkdir "$work/debs" "$work/root" || return 1
  (cd "$work/debs" && apt-get -qq -c "$work/apt.conf" download "$@") || return 1
  printf '%s\0' "$work"/debs/*.deb |
    xargs -0 -P "$(nproc)" -I{} dpkg-deb -x {} "$work/root" || return 1
  rm -rf "$work/root"/usr/share/{doc,man,locale,lintian}
}

# What starting the servers by hand does without: LLVM is only for JIT (off here, and larger than all the rest), the others
# are for system services.
NOT_NEEDED='^(libllvm.*|libz3-.*|postgresql|postgresql-contrib|postgresql-common.*|postgresql-client-common|adduser|logrotate|libpopt0|socat|libwrap0|ssl-cert|openssl|ucf|sensible-utils|lsb-.*|init-system-helpers|sysvinit-utils|systemd.*|dbus.*|perl.*|libperl.*|lib.*-perl|netbase|locales.*|tzdata)$'

# What an install here would add.
added_by() { # APT_CONF PACKAGES...
  local conf=$1 added
  shift
  added=$(apt-get -c "$conf" -s --no-install-recommends install "$@") || { echo "$added" >&2; return 1; }
  awk '/^Inst /{print $2}' <<<"$added"
}

# Names of the packages to unpack: everything an install here would add, and the
# servers themselves also when they are installed already (perhaps in part).
list_packages() { # APT_CONF
  local added closure
  added=$(added_by "$1" postgresql rabbitmq-server) || return 1
  closure=$(apt-cache -c "$1" depends --recurse --no-recommends --no-suggests --no-conflicts \
    --no-breaks --no-replaces --no-enhances postgresql rabbitmq-server) || return 1
  {
    echo "$added"
    grep -E '^(erlang-[a-z0-9-]+|rabbitmq-server|postgresql-(client-)?[0-9]+|libpq5)$' <<<"$closure"
  } | sort -u | grep -vE "$NOT_NEEDED"
}

# Debian's `erl` has its folder written into it. Let it find itself instead, so
# that the packages may be moved.
relocate_erlang() { # ROOT
  # shellcheck disable=SC2016 # expanded by erl, not here
  sed -i 's#ROOTDIR="\?/usr/lib/erlang"\?#ROOTDIR="$(cd "$(dirname "$0")/.." \&\& pwd)"#' \
    "$1/usr/lib/erlang/bin/erl"
}

# A missing library is better found now than by a server that does not start.
check_programs() { # ROOT
  local pg lib
  relocate_erlang "$1" || return 1
  pg=$(glob_last "$1"/usr/lib/postgresql/*/bin) && lib=$(library_path "$1") || return 1
  LD_LIBRARY_PATH=$lib "$pg/postgres" --version || return 1
  LD_LIBRARY_PATH=$lib "$pg/psql" --version || return 1
  HOME=$1 LD_LIBRARY_PATH=$lib "$1/usr/lib/erlang/bin/erl" -noshell -eval \
    '{ok, _} = application:ensure_all_started(ssl), io:format("erlang in ~s~n", [code:root_dir()]), halt().' |
    grep -F "erlang in $1/usr/lib/erlang" || return 1
  glob_last "$1"/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server
}

library_path() { glob_last "${1:-$ROOT}"/usr/lib/*-linux-gnu*; }

# The last match in version order; fails when there is none.
glob_last() { # already expanded pattern
  [[ -e $1 ]] || return 1
  printf '%s\n' "$@" | sort -V | tail -n 1
}
