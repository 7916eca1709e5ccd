/* nearest.c — optimal string alignment distance (Damerau 1964), three rows at a time. */
#include "cli/nearest.h"
#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static int fold(char c)
{
    return tolower((unsigned char)c);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t ak_nearest_distance(const char *a, const char *b)
{
    size_t n = strlen(a);
    size_t m = strlen(b);
    if (n > AK_NEAREST_LEN_MAX || m > AK_NEAREST_LEN_MAX) {
        return SIZE_MAX;
    }
    size_t rows[3][AK_NEAREST_LEN_MAX + 1];
    for (size_t j = 0; j <= m; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; i <= n; i++) {
        size_t *now = rows[i % 3];
        const size_t *last = rows[(i + 2) % 3];
        const size_t *before = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            bool same = fold(a[i - 1]) == fold(b[j - 1]);
            now[j] = least(least(last[j], now[j - 1]) + 1, last[j - 1] + (same ? 0 : 1));
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) &&
                fold(a[i - 2]) == fold(b[j - 1])) {
                now[j] = least(now[j], before[j - 2] + 1);
            }
        }
    }
    return rows[n % 3][m];
}

const char *ak_nearest(const char *word, const char *(*word_at)(const void *ctx, size_t i),
                       const void *ctx, size_t count)
{
    const char *best = NULL;
    size_t best_distance = SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        const char *known = word_at(ctx, i);
        size_t distance = known ? ak_nearest_distance(word, known) : SIZE_MAX;
        if (distance < best_distance) {
            best = known;
            best_distance = distance;
        }
    }
    size_t allowed = strlen(word) / 3 + 1;
    return best_distance <= allowed ? best : NULL;
}
