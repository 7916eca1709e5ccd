/* nearest.h — "did you mean": the known word closest to a mistyped one.
 *
 * Threads: pure. Memory: the result points into the caller's list.
 */
#pragma once
#include <stddef.h>

#define AK_NEAREST_LEN_MAX 64 /* longer words are nobody's neighbour */

/* Edits (insert, delete, replace, swap of neighbours) that turn one word into the other, ASCII case
 * ignored; SIZE_MAX when a word is longer than AK_NEAREST_LEN_MAX. */
size_t ak_nearest_distance(const char *a, const char *b);
/* The word with the fewest edits, or NULL when none is near: more than a third of the word wrong.
 * word_at(ctx, i) gives the i-th of `count` known words (NULL: left out). */
const char *ak_nearest(const char *word, const char *(*word_at)(const void *ctx, size_t i),
                       const void *ctx, size_t count);
