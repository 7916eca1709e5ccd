/* access.h — when a collection was used last, and how often within a window.
 *
 * The window is AK_ACCESS_PARTS parts of equal length; a count covers the present part and the ones
 * before it, so between seven eighths of the window and all of it. Noting a use is three relaxed
 * atomics, and nothing waits for anything: under a race of threads at the border of two parts a use
 * may be counted in the neighbouring part or be lost, which a policy does not notice.
 *
 * Threads: any call from any thread. Memory: a value of 32 bytes.
 */
#pragma once
#include <stdint.h>

#define AK_ACCESS_PARTS 8u
#define AK_ACCESS_PART_MAX 60000u /* a part counts no further */

struct ak_access {
    _Atomic int64_t last_us; /* wall time of the last use; 0: never */
    _Atomic uint64_t part;   /* number of the part that counts[part % AK_ACCESS_PARTS] belongs to */
    _Atomic uint16_t counts[AK_ACCESS_PARTS];
};

/* One use at `now_us`; window_us ≥ AK_ACCESS_PARTS and the same at every call for one value. */
void ak_access_note(struct ak_access *access, int64_t now_us, int64_t window_us);
/* Uses within the window that ends at `now_us`. */
uint32_t ak_access_count(const struct ak_access *access, int64_t now_us, int64_t window_us);
