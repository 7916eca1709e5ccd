/* slab.h — an array of fixed-size rows that grows while readers use it without locks.
 *
 * Small arrays live on the heap; from 2 MiB on in a reserved address range of which only touched
 * pages cost memory (huge pages where asked for and allowed), so that growth rarely moves a row.
 * When it must move, the rows are copied, the new base is published, and the old memory is retired
 * through the epoch: a reader inside an epoch may keep using the base it loaded.
 *
 * A slab may start as a view of rows stored elsewhere (a section of a mapped image, read-only).
 * thaw() makes it writable: a small one is copied; a large one with a file behind it becomes a
 * private mapping of the same pages with room to grow behind it, so nothing is read or copied.
 * own() copies what still lies in a file into memory of the slab's own.
 *
 * Threads: one writer; readers anywhere inside the epoch. base pairs: release store in growth,
 * acquire load in ak_slab_base().
 */
#pragma once
#include "base/epoch.h"
#include "base/err.h"
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct ak_slab {
    _Atomic(char *) base;
    size_t stride; /* bytes a row */
    uint64_t cap;  /* rows that fit without moving */
    struct ak_epoch *epoch;
    bool huge;           /* ask for 2 MiB pages */
    uint8_t home;        /* the slab's own: none, heap, region, view */
    bool is_mapped;      /* region: its front is a private mapping of a file */
    size_t region_bytes; /* reserved, for home = region */
    int fd;              /* view: file behind it or -1 */
    uint64_t file_at;    /* view: where its first row is in the file */
    uint64_t view_rows;
    uint64_t reserved; /* rows that may be in use: what a move copies */
};

void ak_slab_init(struct ak_slab *slab, size_t stride, bool huge, struct ak_epoch *epoch);
/* Rows [0, rows) are at `p`, borrowed and read-only until thaw or release. fd ≥ 0: the file behind
 * `p`, kept open by the caller for the slab's life; its first row is at file_at, page-aligned. */
void ak_slab_init_view(struct ak_slab *slab, size_t stride, bool huge, struct ak_epoch *epoch,
                       const void *p, uint64_t rows, int fd, uint64_t file_at);
void ak_slab_release(struct ak_slab *slab); /* frees at once: no reader may be inside; idempotent */
bool ak_slab_is_view(const struct ak_slab *slab);
AK_MUST enum ak_rc ak_slab_thaw(struct ak_slab *slab, struct ak_err *err);
/* Does any row lie in memory that is not the slab's own: a view's, or a file's? */
bool ak_slab_is_borrowed(const struct ak_slab *slab);
/* Copy rows that do, so that what they lay in may go once the epoch has passed; the slab is
 * writable then. AK_NOMEM: nothing has changed. */
AK_MUST enum ak_rc ak_slab_own(struct ak_slab *slab, struct ak_err *err);
/* Rows [0, rows) may be used; new rows read as zero. A view must be thawed first. */
AK_MUST enum ak_rc ak_slab_reserve(struct ak_slab *slab, uint64_t rows, struct ak_err *err);
/* Rows at and past `rows` are in use no more, not even by readers inside the epoch: they read as
 * zero again and their memory goes back. A slab that has become small moves, as in a growth, to a
 * block of its size; without memory for one it stays where it is. A view stays as it is. */
void ak_slab_shrink(struct ak_slab *slab, uint64_t rows);
/* Bytes of memory that this slab has touched or may touch up to `rows`, for accounting. */
size_t ak_slab_bytes(const struct ak_slab *slab, uint64_t rows);

static inline char *ak_slab_base(const struct ak_slab *slab)
{
    return atomic_load_explicit(&slab->base, memory_order_acquire);
}
static inline void *ak_slab_row(const struct ak_slab *slab, uint64_t row)
{
    return ak_slab_base(slab) + row * slab->stride;
}
