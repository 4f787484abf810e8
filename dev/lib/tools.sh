# shellcheck shell=bash disable=SC2034 # variables used by dev/stack
# Programs that are no part of a stack: each is fetched when somebody first asks for it, and runs in the foreground.
# Sourced by dev/stack.

TOOL='' TOOL_LIB=''

# Sets TOOL, and TOOL_LIB where its libraries came with it. What the system has is taken only if nothing was fetched.
find_tool() { # pgbouncer|promtool
  local name=$1 size unpacked path
  case $name in
    pgbouncer) path=usr/sbin/pgbouncer size='1 MB' ;;
    promtool) path=usr/bin/promtool size='20 MB' ;;
  esac
  place_dir "$(dirname "$ROOT_GIVEN")"
  resolve_paths
  unpacked=$ROOT/$name
  TOOL=$unpacked/$path
  if ! unpacked "$unpacked"; then
    if TOOL=$(type -P "$name" || glob_last "/$path"); then return; fi
    if [[ ${RELAY_DEV_FETCH:-1} == 0 ]] ||
      ! fetch "$name" "$size" "$unpacked" "${name}_packages" "${name}_check"; then
      die "no $name found: install it, or let it be fetched (RELAY_DEV_FETCH)"
    fi
    unlock_root
    TOOL=$unpacked/$path
  fi
  # What the system has anyway was not fetched.
  TOOL_LIB=$(library_path "$unpacked") || TOOL_LIB=
}

pgbouncer_packages() { # APT_CONF
  local added
  added=$(added_by "$1" pgbouncer) || return 1
  { echo pgbouncer; echo "$added"; } | sort -u | grep -vE "$NOT_NEEDED"
}

pgbouncer_check() { # FOLDER
  local lib
  lib=$(library_path "$1") || lib=
  LD_LIBRARY_PATH=$lib "$1/usr/sbin/pgbouncer" --version
}

# One program of Prometheus' package, which needs nothing of all that the server's pages do.
promtool_packages() { echo prometheus; } # APT_CONF

promtool_check() { # FOLDER
  rm -rf "${1:?}"/usr/{bin/prometheus,share} "${1:?}/etc"
  "$1/usr/bin/promtool" --version
}
