/* access.c — a count over a sliding window, in a ring of parts. */
#include "model/access.h"
#include <stdatomic.h>

static uint64_t part_of(int64_t now_us, int64_t window_us)
{
    int64_t length = window_us / AK_ACCESS_PARTS;
    return now_us > 0 ? (uint64_t)(now_us / length) : 0;
}

void ak_access_note(struct ak_access *access, int64_t now_us, int64_t window_us)
{
    uint64_t now = part_of(now_us, window_us);
    uint64_t part = atomic_load_explicit(&access->part, memory_order_relaxed);
    while (now > part) {
        if (atomic_compare_exchange_weak_explicit(&access->part, &part, now, memory_order_relaxed,
                                                  memory_order_relaxed)) {
            uint64_t stale = now - part < AK_ACCESS_PARTS ? now - part : AK_ACCESS_PARTS;
            for (uint64_t i = 0; i < stale; i++) {
                atomic_store_explicit(&access->counts[(now - i) % AK_ACCESS_PARTS], 0,
                                      memory_order_relaxed);
            }
            break;
        }
    }
    _Atomic uint16_t *count = &access->counts[now % AK_ACCESS_PARTS];
    if (atomic_load_explicit(count, memory_order_relaxed) < AK_ACCESS_PART_MAX) {
        atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
    }
    atomic_store_explicit(&access->last_us, now_us, memory_order_relaxed);
}

uint32_t ak_access_count(const struct ak_access *access, int64_t now_us, int64_t window_us)
{
    uint64_t now = part_of(now_us, window_us);
    uint64_t part = atomic_load_explicit(&access->part, memory_order_relaxed);
    uint32_t sum = 0;
    for (uint64_t i = 0; i < AK_ACCESS_PARTS && i <= part; i++) {
        if (part - i + AK_ACCESS_PARTS > now) {
            sum += atomic_load_explicit(&access->counts[(part - i) % AK_ACCESS_PARTS],
                                        memory_order_relaxed);
        }
    }
    return sum;
}
