#!/usr/bin/env bash
# Proves the floors of DESIGN: a file of src/<module> includes its own module and strictly lower
# floors only, x_priv.h stays in its folder, and each third-party header appears in its modules only.
# Prints every breach; exit 1 when there is one.
set -euo pipefail
cd "$(dirname "$0")/.."

# The one table. floor: module… / third party: header prefix → modules that may include it.
floors="
0 base
1 model simd codec metrics httpc resil
2 index wal catalog objstore parquet trace auth net
3 snapshot upload perf
4 engine
5 archive
6 tier
7 service mocks3
8 rest grpc console
9 cli
"
third_party="
sqlite3.h catalog
llhttp.h net
nghttp2/ net
openssl/ base net objstore mocks3
xxhash.h base
curl/ httpc
protobuf-c/ grpc
zstd.h codec
snappy-c.h codec
lz4 codec
zlib.h codec
"
# What the C library, the kernel and the compiler bring: free for all.
system='^(assert|byteswap|cpuid|ctype|dirent|dlfcn|endian|errno|fcntl|fenv|float|fnmatch|ftw|getopt|glob|grp|immintrin|inttypes|libgen|limits|locale|malloc|math|netdb|poll|pthread|pwd|regex|sched|semaphore|setjmp|signal|spawn|stdalign|stdarg|stdatomic|stdbool|stddef|stdint|stdio|stdlib|stdnoreturn|string|strings|syslog|termios|tgmath|time|unistd|wchar|arm_neon|(sys|netinet|arpa|linux|asm|net)/[a-z0-9_]+)\.h$'

# shellcheck disable=SC2016 # the program is awk's
find src -name '*.[ch]' -o -name '*.def' | sort | xargs awk \
    -v floors="$floors" -v third_party="$third_party" -v system_headers="$system" '
function breach(text) {
    printf "%s:%d: %s\n", FILENAME, FNR, text
    breaches++
}
function check_ours(target,    parts, to, n) {
    n = split(target, parts, "/")
    to = parts[1]
    if (target ~ /include\/akidb\.h$/) { # the public header: the library itself and the program
        if (module != "engine" && module != "cli") breach("includes the public header of the library")
    } else if (n != 2 || !(to in floor)) {
        breach("includes \"" target "\": write \"module/file.h\"")
    } else if (to != module && floor[to] >= floor[module]) {
        breach(module " (floor " floor[module] ") includes " to " (floor " floor[to] ")")
    } else if (to != module && target ~ /_priv\.h$/) {
        breach("includes \"" target "\", which is private to src/" to)
    }
}
function check_foreign(target,    prefix, allowed) {
    for (prefix in may) {
        if (index(target, prefix) == 1) {
            allowed = " " may[prefix] " "
            if (!index(allowed, " " module " ")) breach("<" target "> belongs to" allowed "only")
            return
        }
    }
    if (target !~ system_headers) breach("<" target "> is not in the table of tools/check_layers.sh")
}
BEGIN {
    n = split(floors, lines, "\n")
    for (i = 1; i <= n; i++) {
        m = split(lines[i], words, " ")
        for (j = 2; j <= m; j++) floor[words[j]] = words[1]
    }
    n = split(third_party, lines, "\n")
    for (i = 1; i <= n; i++) {
        if (split(lines[i], words, " ") < 2) continue
        sub(/^[^ ]+ /, "", lines[i])
        may[words[1]] = lines[i]
    }
}
FNR == 1 {
    files++
    split(FILENAME, path, "/")
    module = path[2]
    if (!(module in floor)) breach("src/" module " has no floor: add it to tools/check_layers.sh")
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
    includes++
    split($0, quoted, "\"")
    check_ours(quoted[2])
}
/^[ \t]*#[ \t]*include[ \t]*</ {
    includes++
    target = $0
    sub(/^[^<]*</, "", target)
    sub(/>.*/, "", target)
    check_foreign(target)
}
END {
    if (!breaches) printf "floors hold: %d includes in %d files\n", includes, files
    exit breaches ? 1 : 0
}'
