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
 * A slab that is to stay in a file (stay_in_file) leaves there what a file holds of it: a large
 * view is thawed for reading here and there, own() copies nothing of it, and once another file has
 * been written that holds the rows too, switch_begin() and switch_end() give it a new base whose
 * front is that file's pages: the memory that held the rows is given back. What is written to such
 * a row afterwards becomes memory again, a page at a time, until the next switch.
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
    bool in_file;        /* stay_in_file: rows that a file holds are left there */
    size_t region_bytes; /* reserved, for home = region */
    int fd;              /* view: file behind it or -1 */
    uint64_t file_at;    /* view: where its first row is in the file */
    uint64_t view_rows;
    uint64_t reserved; /* rows that may be in use: what a move copies */
    size_t file_bytes; /* region: so much of its front is that mapping */
    uint64_t *written; /* in_file: bitmap of those of its pages that are memory by now, or NULL */
    uint64_t written_pages;
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
/* Bytes of memory that this slab has touched or may touch up to `rows`, for accounting; of one that
 * stays in a file, without the pages that are the file's. */
size_t ak_slab_bytes(const struct ak_slab *slab, uint64_t rows);
/* Bytes of its rows that are a file's pages, which the system may drop and read again. */
size_t ak_slab_file_bytes(const struct ak_slab *slab, uint64_t rows);

/* --- Rows that stay in a file --- */

/* Once, before there are rows to thaw. */
void ak_slab_stay_in_file(struct ak_slab *slab);
/* A row of a slab that stays in a file is about to be written. The writer's. */
void ak_slab_note_write(struct ak_slab *slab, uint64_t row);
struct ak_slab_switch { /* zero: none */
    char *base;
    size_t bytes;
    size_t file_bytes;
    uint64_t *written;
    uint64_t copied; /* rows [0, copied) are there */
};
/* A place for `room` rows: rows [0, rows) as they lie in a file from file_at on (a page's start),
 * rows [rows, ready) copied. Rows below `ready` do not change until the end or the drop. Without a
 * lock, inside the epoch. AK_UNSUPPORTED: so few rows are not worth it; AK_NOMEM, AK_IO: nothing
 * has changed either. */
AK_MUST enum ak_rc ak_slab_switch_begin(const struct ak_slab *slab, int fd, uint64_t file_at,
                                        uint64_t rows, uint64_t ready, uint64_t room,
                                        struct ak_slab_switch *to, struct ak_err *err);
/* Copy the rest of rows [0, rows), publish it, retire what held them. The writer's. AK_TOO_BIG: the
 * slab has outgrown the place, which is dropped, and nothing has changed. */
AK_MUST enum ak_rc ak_slab_switch_end(struct ak_slab *slab, struct ak_slab_switch *to,
                                      uint64_t rows, struct ak_err *err);
void ak_slab_switch_drop(struct ak_slab_switch *to); /* idempotent */
/* Give back the memory that the file's pages take here; they are found again in the page cache.
 * Only of a slab that stays in a file, by its writer. */
void ak_slab_let_go(const struct ak_slab *slab);
/* Rows [from, to) will be read soon: the file's pages are asked for, all at once and without
 * waiting for them. Inside the epoch, from any thread, as is the next. */
void ak_slab_will_read(const struct ak_slab *slab, uint64_t from, uint64_t to);
/* They have been read, once, and shall not drive out what is read more often. */
void ak_slab_was_read(const struct ak_slab *slab, uint64_t from, uint64_t to);

static inline char *ak_slab_base(const struct ak_slab *slab)
{
    return atomic_load_explicit(&slab->base, memory_order_acquire);
}
static inline void *ak_slab_row(const struct ak_slab *slab, uint64_t row)
{
    return ak_slab_base(slab) + row * slab->stride;
}
