#!/bin/sh
# Every path that ARCHITECTURE.md, README.md and CONTRIBUTING.md name in the tree must exist.
set -eu
cd "$(dirname "$0")/.."
failed=0
for page in ARCHITECTURE.md README.md CONTRIBUTING.md; do
    [ -f "$page" ] || continue
    # shellcheck disable=SC2013 # names have no blanks
    for path in $(grep -oE '(src|tests|docs|tools|include|examples|bench|cmake)(/[A-Za-z0-9_.-]+)+' "$page" | sed 's/[.]$//' | sort -u); do
        case "$path" in
        */build/*) continue ;;
        esac
        if [ ! -e "$path" ]; then
            echo "$page names $path, which does not exist" >&2
            failed=1
        fi
    done
done
[ "$failed" = 0 ] && echo "docs: every path exists"
exit "$failed"
