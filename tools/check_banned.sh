#!/usr/bin/env bash
# Finds what the code must not contain; prints each place, exit 1 when there is one.
#   calls that overflow, are not thread-safe, hide memory or start processes
#   malloc and its kin outside base/mem.c, typedefs of structs, detached threads, #if 0
#   words that mark unfinished work
#   lines over 100 columns, files over 800 lines
#   external symbols without our prefix (needs a build: build/dev, or the folder given)
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build/dev}
found=0

report() { # what; the places are on stdin (not in a pipe: `found` must stay)
    local rows
    rows=$(cat)
    if [ -n "$rows" ]; then
        printf '%s:\n%s\n' "$1" "$rows"
        found=1
    fi
}

mapfile -t code < <(find src include bench tests -name '*.[ch]' | sort)
mapfile -t modules < <(find src -name '*.[ch]' ! -path src/base/mem.c | sort)
mapfile -t product < <(find src include bench -name '*.[ch]' | sort)
mapfile -t texts < <(find src include bench tests tools cmake .ci Makefile CMakeLists.txt \
    -type f \( -name '*.[ch]' -o -name '*.def' -o -name '*.sh' -o -name '*.py' -o -name '*.cmake' \
    -o -name '*.in' -o -name run -o -name Makefile -o -name CMakeLists.txt \) \
    ! -path '*/corpus/*' | sort)

# Prints "file:line: text" where the pattern matches code, with comments and strings blanked out.
matches() {
    local pattern=$1
    shift
    # shellcheck disable=SC2016 # the program is perl's
    PATTERN=$pattern perl -0777 -ne '
        my $code = $_;
        $code =~ s{/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\x27(?:\\.|[^\x27\\\n])*\x27}
                  { my $t = $&; $t =~ s/[^\n]/ /g; $t }gsex;
        my @lines = split /\n/, $_, -1;
        my $n = 0;
        for my $line (split /\n/, $code, -1) {
            my $text = $lines[$n++] // "";
            $text =~ s/^\s+//;
            print "$ARGV:$n: $text\n" if $line =~ /$ENV{PATTERN}/;
        }' "$@"
}

call='(?<![\w.>])'
report 'banned calls' < <(matches "$call"'(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|atoll|atof|rand|srand|alloca|system|popen)\s*\(' \
    "${code[@]}")
report 'changes the environment' < <(matches "$call"'(setenv|unsetenv|putenv)\s*\(' "${product[@]}")
report 'allocation outside src/base/mem.c' < <(
    matches "$call"'(malloc|calloc|realloc|free|posix_memalign|aligned_alloc|strdup|strndup|asprintf|vasprintf)\s*\(' \
        "${modules[@]}")
report 'typedef of a struct, union or enum' < <(
    matches '^\s*typedef\s+(struct|union|enum)\b[^()]*$' "${product[@]}")
report 'detached threads' < <(matches 'pthread_detach|PTHREAD_CREATE_DETACHED' "${code[@]}")
report '#if 0' < <(matches '^\s*#\s*if\s+0\b' "${code[@]}")

marks='TO''DO|FIX''ME|XX''X|HA''CK' # written so that this line does not find itself
report 'unfinished' < <(grep -nwE "$marks" "${texts[@]}" || true)

# shellcheck disable=SC2016 # the program is perl's
report 'lines over 100 columns' < <(
    perl -CSD -ne 'chomp; print "$ARGV:$.: ", length, " columns\n" if length > 100; close ARGV if eof' \
        "${code[@]}")
report 'files over 800 lines' < <(
    for file in "${texts[@]}"; do
        lines=$(wc -l <"$file")
        [ "$lines" -le 800 ] || echo "$file: $lines lines"
    done)

libraries=()
for library in "$build"/libak_*.a; do
    case $library in
    *libak_llhttp.a | *'*'*) ;; # not ours; no match
    *) libraries+=("$library") ;;
    esac
done
if [ ${#libraries[@]} -eq 0 ]; then
    echo "$build has no libraries: build first (make dev)"
    found=1
else
    report 'external symbols without ak_' < <(nm -A -g --defined-only "${libraries[@]}" 2>/dev/null |
        awk 'NF > 2 && $NF !~ /^(ak_|akidb_)/ { print $1, $NF }')
fi

[ $found -eq 1 ] || echo "nothing banned in ${#texts[@]} files, ${#libraries[@]} libraries"
exit $found
