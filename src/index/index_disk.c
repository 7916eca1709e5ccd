/* index_disk.c — vectors that stay on disk: taking over an image's file, and reading ahead.
 *
 * Codes and links are in memory, and every search decides by codes which rows it measures in
 * floats: a dozen to some hundred. Those rows are pages of the image's file, which the system keeps
 * in its cache while there is room for them. Rows that came after the image are memory until the
 * next one is written.
 *
 *   I10 Between freeze and unfreeze no slot is used anew, so the rows that the image holds are the
 *       rows in memory, byte for byte, and a slab may take the file's pages for its own.
 *
 * A page that is not in the cache costs a read of the disk, some 100 µs, and a search that met its
 * rows one after the other would wait for each. So they are asked for together. While everything is
 * in the cache that would be a dozen calls of the system for nothing: so a search measures its
 * first rows as if they were there, and only when one of them had to be read (the thread's count of
 * major faults has grown) asks for the others, and so do the next COLD_SEARCHES before they begin.
 */
#include "base/slab.h"
#include "index/index_priv.h"
#include <sys/resource.h>

#define COLD_SEARCHES 64u
#define LATER_ROWS_MIN                                                                             \
    65536u /* what may come while a switch is under way, without growing again                     \
            */

/* --- Taking over a file --- */

enum ak_rc ak_index_switch_begin(struct ak_index *index, const struct ak_image *image,
                                 struct ak_slab_switch *to, struct ak_err *err)
{
    struct ak_image_section section;
    uint64_t rows = index->frozen.slots;
    AK_ASSERT(index->frozen.on); /* I10 */
    if (!ak_index_is_on_disk(index) || rows == 0) {
        return ak_fail(err, AK_UNSUPPORTED, "the vectors stay in memory");
    }
    enum ak_rc rc =
        ak_image_need(image, AK_IMAGE_VECTORS, index->vectors.stride, rows, &section, err);
    if (rc == AK_OK) {
        unsigned token = ak_epoch_enter(index->options.epoch);
        uint64_t ready = ak_index_slots(index);
        rc = ak_slab_switch_begin(&index->vectors, ak_image_fd(image), section.file_at, rows, ready,
                                  ready + ready / 2 + LATER_ROWS_MIN, to, err);
        ak_epoch_leave(index->options.epoch, token);
    }
    return rc;
}

enum ak_rc ak_index_switch_end(struct ak_index *index, struct ak_slab_switch *to,
                               struct ak_err *err)
{
    AK_ASSERT(index->frozen.on); /* I10 */
    enum ak_rc rc = ak_slab_switch_end(&index->vectors, to, ak_index_slots(index), err);
    if (rc == AK_OK) {
        ak_reclaim_hold(index->reclaim, index->options.epoch); /* as for every move: index.c */
        ak_index_account(index);
    }
    return rc;
}

void ak_index_let_go(struct ak_index *index)
{
    ak_slab_let_go(&index->vectors);
}

/* --- Reading ahead --- */

bool ak_index_has_file(const struct ak_index *index)
{
    return ak_index_is_on_disk(index) &&
           atomic_load_explicit(&index->file_bytes, memory_order_relaxed) > 0;
}

void ak_index_will_read(const struct ak_index *index, const uint32_t *slots, uint32_t count)
{
    if (!ak_index_has_file(index)) {
        return;
    }
    for (uint32_t i = 0; i < count;) {
        uint32_t next = i + 1;
        while (next < count && slots[next] == slots[next - 1] + 1) {
            next++; /* neighbours in one call */
        }
        ak_slab_will_read(&index->vectors, slots[i], (uint64_t)slots[next - 1] + 1);
        i = next;
    }
}

static void ask(const struct ak_index *index, const struct ak_found *rows, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        ak_slab_will_read(&index->vectors, rows[i].slot, (uint64_t)rows[i].slot + 1);
    }
}

/* Of this thread, that had to be read from disk. */
static long faults(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_majflt : 0;
}

void ak_reading_begin(struct ak_index *index, const struct ak_found *rows, uint32_t count,
                      struct ak_reading *reading)
{
    *reading = (struct ak_reading){.index = index};
    if (!ak_index_has_file(index)) {
        return;
    }
    uint32_t cold = atomic_load_explicit(&index->cold, memory_order_relaxed);
    if (cold > 0) { /* searches may count down at once: a few more or fewer are asked for */
        atomic_store_explicit(&index->cold, cold - 1, memory_order_relaxed);
        ask(index, rows, count);
        return;
    }
    reading->probes = true;
    reading->faults = faults();
}

void ak_reading_next(struct ak_reading *reading, const struct ak_found *rows, uint32_t count)
{
    if (!reading->probes) {
        return;
    }
    reading->probes = false;
    if (faults() != reading->faults) {
        atomic_store_explicit(&reading->index->cold, COLD_SEARCHES, memory_order_relaxed);
        ask(reading->index, rows, count);
    }
}
