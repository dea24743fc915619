#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
#
# A private MariaDB server for tests: its data in a temporary folder, on a unix socket and on a free port of 127.0.0.1, root without
# a password, every commit on disk.
#
#   mariadb.sh run COMMAND...   starts it, runs the command with the variables below exported, stops it, also on an interrupt;
#                               the exit status is the command's
#   mariadb.sh start            starts it and prints the variables as shell lines (eval "$(mariadb.sh start)")
#   mariadb.sh stop             stops the one that the variables name, and removes its folder
#
#   LARDER_TEST_DB              mysql://root@unix(FOLDER/s)/        append the name of a database
#   LARDER_TEST_DB_TCP          mysql://root@127.0.0.1:PORT/
#   LARDER_TEST_DB_PID          the server
#   LARDER_TEST_DB_FOLDER       its data, socket and log
#
# LARDER_TEST_DB_AT says where the folder is made (default TMPDIR or /tmp); the path of the socket has to stay under 108 bytes.
set -euo pipefail

fail() {
    echo "mariadb.sh: $*" >&2
    exit 1
}

# What the log says is wrong, or its end.
complaint() {
    grep -m3 -iE 'error|cannot|denied|no space' "$LARDER_TEST_DB_FOLDER/log" || tail -3 "$LARDER_TEST_DB_FOLDER/log"
}

# Waits a little without a process.
pause() {
    read -rt 0.05 <> <(:) || :
}

as_root=()
[ "$(id -u)" != 0 ] || as_root=(--user=root)

# The server of `run` ends with this script, also when the script is killed outright.
with_parent=()
if [ "${1:-}" = run ] && command -v setpriv > /dev/null; then
    with_parent=(setpriv --pdeathsig TERM --)
fi

find_server() {
    PATH=$PATH:/usr/sbin:/usr/local/sbin
    for server in mariadbd mysqld; do
        if command -v "$server" > /dev/null; then
            return
        fi
    done
    fail "there is no mariadbd here; install mariadb-server-core"
}

# Starts the server on $1; true when it accepts connections, false when it ended (a taken port).
try_port() {
    "${with_parent[@]}" "$server" --no-defaults "${as_root[@]}" --datadir="$LARDER_TEST_DB_FOLDER/data" \
        --tmpdir="$LARDER_TEST_DB_FOLDER" --socket="$LARDER_TEST_DB_FOLDER/s" \
        --bind-address=127.0.0.1 --port="$1" --pid-file="$LARDER_TEST_DB_FOLDER/pid" --skip-log-bin --skip-name-resolve \
        --innodb-flush-log-at-trx-commit=1 --innodb-buffer-pool-size=128M --max-connections=200 \
        < /dev/null > "$LARDER_TEST_DB_FOLDER/log" 2>&1 &
    LARDER_TEST_DB_PID=$!
    local deadline=$((SECONDS + 30))
    until grep -q 'ready for connections' "$LARDER_TEST_DB_FOLDER/log"; do
        kill -0 "$LARDER_TEST_DB_PID" 2> /dev/null || return 1
        [ $SECONDS -lt $deadline ] || fail "the server did not start within 30 s: $(complaint)"
        pause
    done
}

start() {
    find_server
    LARDER_TEST_DB_PID=
    LARDER_TEST_DB_FOLDER=$(mktemp -d "${LARDER_TEST_DB_AT:-${TMPDIR:-/tmp}}/larder-db.XXXXXX")
    mariadb-install-db --no-defaults "${as_root[@]}" --datadir="$LARDER_TEST_DB_FOLDER/data" \
        --tmpdir="$LARDER_TEST_DB_FOLDER" --skip-test-db --force \
        --auth-root-authentication-method=normal > "$LARDER_TEST_DB_FOLDER/log" 2>&1 ||
        fail "the data folder cannot be made: $(complaint)"
    local port
    for _ in 1 2 3 4 5 6 7 8; do
        port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        if try_port $port; then
            export LARDER_TEST_DB="mysql://root@unix($LARDER_TEST_DB_FOLDER/s)/"
            export LARDER_TEST_DB_TCP="mysql://root@127.0.0.1:$port/"
            export LARDER_TEST_DB_PID LARDER_TEST_DB_FOLDER
            return
        fi
    done
    fail "the server does not start: $(complaint)"
}

stop() {
    if [ -n "${LARDER_TEST_DB_PID:-}" ] && kill "$LARDER_TEST_DB_PID" 2> /dev/null; then
        local deadline=$((SECONDS + 20))
        while kill -0 "$LARDER_TEST_DB_PID" 2> /dev/null; do
            [ $SECONDS -lt $deadline ] || kill -9 "$LARDER_TEST_DB_PID" 2> /dev/null || :
            pause
        done
    fi
    [ -z "${LARDER_TEST_DB_FOLDER:-}" ] || rm -rf "$LARDER_TEST_DB_FOLDER"
}

case "${1:-}" in
run)
    shift
    [ $# -gt 0 ] || fail "run what?"
    trap stop EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    start
    # In the background, so that a signal to this script alone ends the command too; with the terminal's input and its interrupts.
    (
        trap - INT
        exec "$@"
    ) <&0 &
    command=$!
    trap 'kill -INT $command 2> /dev/null; wait $command 2> /dev/null; exit 130' INT
    trap 'kill $command 2> /dev/null; wait $command 2> /dev/null; exit 143' TERM HUP
    status=0
    wait $command || status=$?
    exit $status
    ;;
start)
    trap '[ $? = 0 ] || stop' EXIT
    start
    for name in LARDER_TEST_DB LARDER_TEST_DB_TCP LARDER_TEST_DB_PID LARDER_TEST_DB_FOLDER; do
        printf "export %s='%s'\n" "$name" "${!name}"
    done
    ;;
stop)
    [ -n "${LARDER_TEST_DB_PID:-}" ] || fail "LARDER_TEST_DB_PID names no server"
    stop
    ;;
*)
    sed -n '4,/^$/s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
