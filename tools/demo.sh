#!/usr/bin/env bash
# Starts a server on loopback with 2,000 documents in ./akidb-data, asks three questions, and leaves it
# running. Running it again goes on with the same server and data.
#
#   tools/demo.sh         (make demo)
#   tools/demo.sh stop    (make stop)
set -euo pipefail
cd "$(dirname "$0")/.."

bin=build/release/akidb
data=akidb-data
pid_file=$data/server.pid
log=$data/server.log
sample=examples/data

# The server that this script started, if it still runs.
running_pid() {
    local pid
    pid=$(cat "$pid_file" 2>/dev/null) || return 1
    [ -n "$pid" ] && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q 'akidb serve ' || return 1
    echo "$pid"
}

stop() {
    local pid
    if ! pid=$(running_pid); then
        rm -f "$pid_file"
        return 1
    fi
    kill "$pid"
    for _ in $(seq 300); do
        if ! kill -0 "$pid" 2>/dev/null; then
            rm -f "$pid_file"
            return 0
        fi
        sleep 0.1
    done
    echo "the server (process $pid) has not stopped after 30 s; its log is $log" >&2
    exit 1
}

is_taken() { # port
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

start() {
    local port=8080 pid url
    if is_taken $port; then
        echo "port 8080 is taken: a free one is used instead"
        port=0
    fi
    mkdir -p "$data"
    setsid "$bin" serve --data "$data" --listen "127.0.0.1:$port" >"$log" 2>&1 </dev/null &
    pid=$!
    echo "$pid" >"$pid_file"
    for _ in $(seq 600); do
        if ! kill -0 "$pid" 2>/dev/null; then
            echo "the server did not start:" >&2
            tail -n 20 "$log" >&2
            rm -f "$pid_file"
            exit 1
        fi
        url=$(server_url)
        if [ -n "$url" ] && curl -sf -o /dev/null "$url/ready"; then
            return 0
        fi
        sleep 0.1
    done
    echo "the server is not ready after 60 s; its log is $log" >&2
    exit 1
}

server_url() {
    sed -n 's/^listening on //p' "$log" 2>/dev/null | tail -n 1 || true
}

case ${1:-} in
'') ;;
stop)
    if stop; then
        echo "stopped; the data stay in ./$data"
    else
        echo "no server of this demo is running"
    fi
    exit 0
    ;;
*)
    echo "usage: $0 [stop]" >&2
    exit 2
    ;;
esac

# make demo has built already.
[ -n "${MAKELEVEL:-}" ] || make -s build

if pid=$(running_pid) && [ "$(readlink "/proc/$pid/exe")" = "$(readlink -f "$bin")" ] &&
    curl -sf -o /dev/null "$(server_url)/ready"; then
    echo "the server of the last demo is still running"
else
    stop || true # one of an older build
    start
fi
pid=$(running_pid)
url=$(server_url)
echo "akidb serve listens on $url (process $pid, data in ./$data, log in $log)"

echo
"$bin" import --url "$url" --collection words --create --model all-MiniLM-L6-v2 --wait \
    "$sample/vectors.npy" --documents "$sample/documents.ndjson"

ask() {
    local line
    line=$(grep -n -F "\"$1\"" "$sample/questions.ndjson" | cut -d: -f1)
    echo
    echo "\"$1\""
    "$bin" search --url "$url" --collection words --vector-file "$sample/questions.npy" \
        --row $((line - 1)) -k 4
}
ask "a feeling of great happiness"
ask "a tool for cutting wood"
ask "someone who cooks for a living"

cat <<TXT

The server keeps running. What to type next:

  # the same over HTTP: "an animal that lives in the sea"
  curl -s $url/collections/words/search -H 'Content-Type: application/json' -d @$sample/query.json

  # words like "joy", among the feelings
  $bin search --collection words --like n07527352 -k 5 \\
      --filter '{"must":[{"key":"category","match":"noun.feeling"}]}'

  $bin collections
  $bin help

Stop it with \`make stop\`; \`make demo\` goes on where it stopped.
TXT
