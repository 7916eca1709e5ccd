#!/usr/bin/env bash
# Formats the C files in place, as .clang-format says: all, or those given.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ $# -gt 0 ]; then
    clang-format -i "$@"
else
    find src include bench tests -name '*.[ch]' -print0 | xargs -0 clang-format -i
fi
