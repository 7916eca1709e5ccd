/* slab.c — rows that readers use without locks while a writer adds more.
 *
 * Homes, and how a slab passes from one to the next (each move publishes a new base):
 *
 *     none ──reserve──> heap ──reserve, 2 MiB and up──> region ──reserve, past its end──> region
 *     view ──thaw, small──> heap        view ──thaw, large──> region
 *     view ──own──> heap or region      region with a file's pages ──own──> region without
 *     heap, region ──shrink, far below 2 MiB──> heap
 *     heap or region ──switch──> region with a file's pages (stays in a file)
 *
 *   heap    one cache-line-aligned block below 2 MiB, doubled when it is full
 *   region  an address range aligned to 2 MiB, several times what is needed; only touched pages
 *           cost memory, so growth inside it is free. Its front may be a private mapping of a file.
 *   view    borrowed rows; the slab owns nothing
 *
 * I1  Rows [0, cap) are readable and, but for a view, writable; never-written ones are zero.
 * I2  A base that was ever published stays readable until the epoch has passed, or until release.
 * I3  Nothing is written through a file mapping: it is private, so the file keeps its bytes.
 * I4  Of a slab that stays in a file, a page of the mapping whose bit in `written` is clear has
 * never been written to: dropping it loses nothing.
 *
 * A move copies rows. Whoever changes rows from other threads than the writer's (links, marks) must
 * keep those changes out of the copy: that is the owner's lock, not this file's.
 */
#include "base/slab.h"
#include "base/fault.h"
#include "base/mem.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)
#define HEAP_MAX HUGE_PAGE           /* from here on a region */
#define HEAP_MIN ((size_t)256)       /* bytes of the first block: a few small rows */
#define REGION_MIN ((size_t)1 << 30) /* address space is cheap, moving rows is not */

enum slab_home { HOME_NONE, HOME_HEAP, HOME_REGION, HOME_VIEW };

/* What a growth or a thaw has built and not published yet. */
struct place {
    char *base;
    size_t bytes; /* usable bytes */
    enum slab_home home;
    size_t file_bytes; /* of its front: a file's */
    uint64_t *written;
};

struct retired_region {
    char *base;
    size_t bytes;
};

static size_t page_bytes(void)
{
    long n = sysconf(_SC_PAGESIZE);
    return n > 0 ? (size_t)n : 4096;
}

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static enum ak_rc rows_bytes(const struct ak_slab *slab, uint64_t rows, size_t *bytes,
                             struct ak_err *err)
{
    /* An eighth of the address space leaves the factors below without overflow. */
    if (ak_mul_overflows(slab->stride, rows, bytes) || *bytes > SIZE_MAX / 16) {
        return ak_fail(err, AK_TOO_BIG, "%llu rows of %zu bytes are past the address space",
                       (unsigned long long)rows, slab->stride);
    }
    return AK_OK;
}

/* `bytes` (a multiple of 2 MiB) of zeros at an address that is one too, or NULL. */
static char *map_aligned(size_t bytes)
{
    size_t more = bytes + HUGE_PAGE;
    char *p = mmap(NULL, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    if (p == MAP_FAILED) {
        return NULL;
    }
    size_t before = (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;
    if (before) {
        (void)munmap(p, before);
    }
    if (HUGE_PAGE - before) {
        (void)munmap(p + before + bytes, HUGE_PAGE - before);
    }
    return p + before;
}

/* A region for `need` bytes with room to grow; less room when the system refuses more. */
static enum ak_rc map_region(size_t need, struct place *place, struct ak_err *err)
{
    size_t roomy = need * 8 > REGION_MIN ? need * 8 : REGION_MIN;
    const size_t wishes[] = {roomy, need * 4, need * 2, need};
    bool refused = ak_fault_alloc_fails();
    for (size_t i = 0; i < sizeof wishes / sizeof wishes[0] && !refused; i++) {
        size_t bytes = round_up(wishes[i], HUGE_PAGE);
        char *base = map_aligned(bytes);
        if (base) {
            *place = (struct place){.base = base, .bytes = bytes, .home = HOME_REGION};
            return AK_OK;
        }
    }
    return ak_fail(err, AK_NOMEM, "no memory for %zu bytes of rows", need);
}

/* Pages are only taken when touched, so advising the whole range costs nothing ahead and keeps it
 * one mapping of the kernel's, however often the slab grows. Refusal only means small pages. */
static void advise_huge(const struct ak_slab *slab, const struct place *place, size_t from)
{
    from = round_up(from, HUGE_PAGE);
    if (slab->huge && from < place->bytes) {
        (void)madvise(place->base + from, place->bytes - from, MADV_HUGEPAGE);
    }
}

static enum ak_rc heap_block(size_t bytes, size_t used, struct place *place, struct ak_err *err)
{
    char *base = ak_try_alloc_aligned(AK_CACHE_LINE, bytes);
    if (!base) {
        return ak_fail(err, AK_NOMEM, "no memory for %zu bytes of rows", bytes);
    }
    memset(base + used, 0, bytes - used);
    *place = (struct place){.base = base, .bytes = bytes, .home = HOME_HEAP};
    return AK_OK;
}

/* A place for `need` bytes with the first `used` copied from the present base. */
static enum ak_rc place_copy(struct ak_slab *slab, size_t need, size_t used, struct place *place,
                             struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    if (need < HEAP_MAX) {
        rc = heap_block(need, used, place, err);
    } else {
        rc = map_region(need, place, err);
        if (rc == AK_OK) {
            advise_huge(slab, place, 0);
        }
    }
    if (rc == AK_OK && used) {
        memcpy(place->base, ak_slab_base(slab), used);
    }
    return rc;
}

static void free_region(void *arg)
{
    struct retired_region *region = arg;
    (void)munmap(region->base, region->bytes);
    ak_free(region);
}

static void retire(struct ak_slab *slab, char *base, enum slab_home home, size_t region_bytes)
{
    if (home == HOME_HEAP) {
        ak_epoch_retire(slab->epoch, ak_free, base);
    } else if (home == HOME_REGION) {
        struct retired_region *region = ak_alloc(sizeof *region);
        *region = (struct retired_region){base, region_bytes};
        ak_epoch_retire(slab->epoch, free_region, region);
    }
}

/* Publish first, retire after: a reader that enters later cannot meet the old base. */
static void publish(struct ak_slab *slab, const struct place *place)
{
    char *old = ak_slab_base(slab);
    enum slab_home old_home = (enum slab_home)slab->home;
    size_t old_bytes = slab->region_bytes;
    slab->home = (uint8_t)place->home;
    slab->cap = place->bytes / slab->stride;
    slab->region_bytes = place->home == HOME_REGION ? place->bytes : 0;
    slab->is_mapped = place->file_bytes > 0;
    slab->file_bytes = place->file_bytes;
    ak_free(slab->written);
    slab->written = place->written;
    slab->written_pages = 0;
    slab->fd = -1;
    slab->view_rows = 0;
    /* Pairs with the acquire in ak_slab_base(): whoever sees the base sees the copied rows. */
    atomic_store_explicit(&slab->base, place->base, memory_order_release);
    retire(slab, old, old_home, old_bytes);
}

void ak_slab_init(struct ak_slab *slab, size_t stride, bool huge, struct ak_epoch *epoch)
{
    AK_ASSERT(stride > 0);
    *slab = (struct ak_slab){.stride = stride, .epoch = epoch, .huge = huge, .fd = -1};
    atomic_init(&slab->base, NULL);
}

void ak_slab_init_view(struct ak_slab *slab, size_t stride, bool huge, struct ak_epoch *epoch,
                       const void *p, uint64_t rows, int fd, uint64_t file_at)
{
    ak_slab_init(slab, stride, huge, epoch);
    union {
        const void *in;
        char *out;
    } borrowed = {.in = p}; /* the base is one type for all homes; a view is never written to */
    slab->home = HOME_VIEW;
    slab->cap = rows;
    slab->view_rows = rows;
    slab->reserved = rows;
    slab->fd = fd;
    slab->file_at = file_at;
    atomic_init(&slab->base, borrowed.out);
}

void ak_slab_release(struct ak_slab *slab)
{
    char *base = ak_slab_base(slab);
    if (slab->home == HOME_HEAP) {
        ak_free(base);
    } else if (slab->home == HOME_REGION) {
        (void)munmap(base, slab->region_bytes);
    }
    ak_free(slab->written);
    slab->written = NULL;
    slab->written_pages = 0;
    slab->file_bytes = 0;
    slab->home = HOME_NONE;
    slab->is_mapped = false;
    slab->cap = 0;
    slab->region_bytes = 0;
    slab->view_rows = 0;
    slab->reserved = 0;
    slab->fd = -1;
    atomic_store_explicit(&slab->base, NULL, memory_order_relaxed);
}

bool ak_slab_is_view(const struct ak_slab *slab)
{
    return slab->home == HOME_VIEW;
}

bool ak_slab_is_borrowed(const struct ak_slab *slab)
{
    return slab->home == HOME_VIEW || (slab->is_mapped && !slab->in_file);
}

/* A region with room for `need` bytes whose front is the file's own pages, private. Only whole
 * pages of the `used` bytes are mapped, and only those that the file has (a page past its end would
 * be a SIGBUS); the rest, less than a page, is the caller's to copy, so that what follows the last
 * row is zeros whatever the file holds there. */
static enum ak_rc map_front(const struct ak_slab *slab, int fd, uint64_t file_at, size_t used,
                            size_t need, struct place *place, struct ak_err *err)
{
    size_t whole = used / page_bytes() * page_bytes();
    uint64_t *written = NULL;
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return ak_fail_errno(err, errno, "size of the file behind %zu bytes of rows", used);
    }
    uint64_t size = st.st_size > 0 ? (uint64_t)st.st_size : 0;
    if (size < file_at || size - file_at < used) {
        return ak_fail(err, AK_CORRUPT, "the file has %llu bytes, rows end at %llu",
                       (unsigned long long)size, (unsigned long long)(file_at + used));
    }
    if (slab->in_file) {
        written = ak_try_zalloc((whole / page_bytes() / 64 + 1) * sizeof *written);
        if (!written) {
            return ak_fail(err, AK_NOMEM, "list of the pages of %zu bytes of rows", used);
        }
    }
    enum ak_rc rc = map_region(need, place, err);
    if (rc != AK_OK) {
        ak_free(written);
        return rc;
    }
    void *front = MAP_FAILED;
    errno = ENOMEM;
    if (!ak_fault_alloc_fails()) {
        front = mmap(place->base, whole, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd, (off_t)file_at);
    }
    if (front == MAP_FAILED) {
        rc = ak_fail_errno(err, errno, "map %zu bytes of rows", whole);
        (void)munmap(place->base, place->bytes);
        ak_free(written);
        return rc;
    }
    if (slab->in_file) { /* one row here, one there: what lies beside it is not wanted */
        (void)madvise(place->base, whole, MADV_RANDOM);
    }
    place->file_bytes = whole;
    place->written = written;
    advise_huge(slab, place, used);
    return AK_OK;
}

static enum ak_rc place_mapped(struct ak_slab *slab, size_t used, struct place *place,
                               struct ak_err *err)
{
    enum ak_rc rc = map_front(slab, slab->fd, slab->file_at, used, used, place, err);
    if (rc == AK_OK) {
        size_t whole = place->file_bytes;
        memcpy(place->base + whole, ak_slab_base(slab) + whole, used - whole);
    }
    return rc;
}

enum ak_rc ak_slab_thaw(struct ak_slab *slab, struct ak_err *err)
{
    if (!ak_slab_is_view(slab)) {
        return AK_OK;
    }
    size_t used = 0;
    enum ak_rc rc = rows_bytes(slab, slab->view_rows, &used, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (used == 0) {
        ak_slab_release(slab);
        return AK_OK;
    }
    struct place place = {0};
    if (used >= HEAP_MAX && slab->fd >= 0 && slab->file_at % page_bytes() == 0) {
        rc = place_mapped(slab, used, &place, err);
    } else {
        rc = place_copy(slab, used, used, &place, err);
    }
    if (rc == AK_OK) {
        publish(slab, &place);
    }
    return rc;
}

enum ak_rc ak_slab_own(struct ak_slab *slab, struct ak_err *err)
{
    if (!ak_slab_is_borrowed(slab)) {
        return AK_OK;
    }
    if (slab->in_file) {
        return ak_slab_thaw(slab, err);
    }
    size_t used = 0;
    enum ak_rc rc = rows_bytes(slab, slab->reserved, &used, err);
    if (rc == AK_OK && used == 0) {
        ak_slab_release(slab);
        return AK_OK;
    }
    struct place place = {0};
    if (rc == AK_OK) {
        rc = place_copy(slab, used, used, &place, err);
    }
    if (rc == AK_OK) {
        publish(slab, &place);
    }
    return rc;
}

enum ak_rc ak_slab_reserve(struct ak_slab *slab, uint64_t rows, struct ak_err *err)
{
    AK_ASSERT(!ak_slab_is_view(slab));
    if (rows <= slab->cap) {
        slab->reserved = rows > slab->reserved ? rows : slab->reserved;
        return AK_OK;
    }
    size_t need = 0;
    enum ak_rc rc = rows_bytes(slab, rows, &need, err);
    if (rc != AK_OK) {
        return rc;
    }
    size_t used = (size_t)slab->reserved * slab->stride;
    if (need < HEAP_MAX) {
        size_t twice = used * 2 > HEAP_MIN ? used * 2 : HEAP_MIN;
        need = twice > need ? twice : need;
    }
    struct place place = {0};
    rc = place_copy(slab, need, used, &place, err);
    if (rc == AK_OK) {
        publish(slab, &place);
        slab->reserved = rows;
    }
    return rc;
}

/* --- Giving back --- */

/* The pages of [from, to), whole ones, read as zero from now on. Where a file is mapped in front,
 * letting pages go would bring its bytes back, so that zeros are mapped over them instead. */
static void drop_pages(struct ak_slab *slab, size_t from, size_t to)
{
    char *at = ak_slab_base(slab) + from;
    bool dropped = false;
    if (slab->is_mapped || slab->file_bytes > from) {
        dropped = mmap(at, to - from, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == at;
        if (dropped && slab->huge) {
            (void)madvise(at, to - from, MADV_HUGEPAGE);
        }
    } else {
        dropped = madvise(at, to - from, MADV_DONTNEED) == 0;
    }
    if (!dropped) { /* too many mappings, or locked pages: the memory stays, the zeros do not */
        memset(at, 0, to - from);
    }
}

/* No page from byte `from` on, a page's start, is the file's any more. */
static void leave_file(struct ak_slab *slab, size_t from)
{
    if (from >= slab->file_bytes) {
        return;
    }
    size_t pages = slab->written ? slab->file_bytes / page_bytes() : 0;
    for (size_t page = from / page_bytes(); page < pages; page++) {
        uint64_t bit = (uint64_t)1 << (page % 64);
        slab->written_pages -= (slab->written[page / 64] & bit) != 0;
        slab->written[page / 64] &= ~bit;
    }
    slab->file_bytes = from;
}

static bool move_to_smaller(struct ak_slab *slab, size_t keep)
{
    size_t block = keep > HEAP_MIN ? round_up(keep, AK_CACHE_LINE) : HEAP_MIN;
    struct place place = {0};
    struct ak_err err;
    if (block > HEAP_MAX / 2 ||
        (slab->home == HOME_HEAP && block > (size_t)slab->cap * slab->stride / 4 * 3)) {
        return false; /* it would have to grow again soon, or gains little */
    }
    if (heap_block(block, keep, &place, &err) != AK_OK) {
        return false;
    }
    if (keep) {
        memcpy(place.base, ak_slab_base(slab), keep);
    }
    publish(slab, &place);
    return true;
}

void ak_slab_shrink(struct ak_slab *slab, uint64_t rows)
{
    if (rows >= slab->reserved || (slab->home != HOME_HEAP && slab->home != HOME_REGION)) {
        return;
    }
    size_t keep = (size_t)rows * slab->stride;
    size_t used = (size_t)slab->reserved * slab->stride;
    if (!move_to_smaller(slab, keep)) {
        size_t end = slab->home == HOME_REGION ? round_up(used, page_bytes()) : used;
        size_t pages = round_up(keep, slab->huge ? HUGE_PAGE : page_bytes());
        pages = slab->home == HOME_REGION && pages < end ? pages : end;
        size_t zeroed = pages < used ? pages : used;
        for (uint64_t row = rows; row * slab->stride < zeroed; row++) {
            ak_slab_note_write(slab, row);
        }
        memset(ak_slab_base(slab) + keep, 0, zeroed - keep);
        if (pages < end) {
            drop_pages(slab, pages, end);
            leave_file(slab, pages);
        }
    }
    slab->reserved = rows;
}

size_t ak_slab_bytes(const struct ak_slab *slab, uint64_t rows)
{
    if (slab->home == HOME_HEAP) {
        return round_up((size_t)slab->cap * slab->stride, AK_CACHE_LINE);
    }
    if (slab->home != HOME_REGION) {
        return 0; /* a view's pages are the page cache's */
    }
    size_t touched = slab->stride * (size_t)(rows < slab->cap ? rows : slab->cap);
    size_t files = slab->in_file ? slab->file_bytes : 0;
    if (touched <= files) {
        return (size_t)slab->written_pages * page_bytes();
    }
    touched = round_up(touched, slab->huge ? HUGE_PAGE : page_bytes());
    touched = touched < slab->region_bytes ? touched : slab->region_bytes;
    return touched - files + (size_t)slab->written_pages * page_bytes();
}

/* --- Rows that stay in a file --- */

size_t ak_slab_file_bytes(const struct ak_slab *slab, uint64_t rows)
{
    size_t used = slab->stride * (size_t)(rows < slab->cap ? rows : slab->cap);
    if (slab->home == HOME_VIEW) {
        return slab->fd >= 0 ? used : 0;
    }
    size_t files = used < slab->file_bytes ? used : slab->file_bytes;
    size_t written = (size_t)slab->written_pages * page_bytes();
    return files > written ? files - written : 0;
}

void ak_slab_stay_in_file(struct ak_slab *slab)
{
    AK_ASSERT(slab->home == HOME_NONE || slab->home == HOME_VIEW);
    slab->in_file = true;
}

void ak_slab_note_write(struct ak_slab *slab, uint64_t row)
{
    size_t at = (size_t)row * slab->stride;
    if (!slab->written || at >= slab->file_bytes) {
        return;
    }
    size_t end = at + slab->stride;
    end = end < slab->file_bytes ? end : slab->file_bytes;
    for (size_t page = at / page_bytes(); page * page_bytes() < end; page++) {
        uint64_t bit = (uint64_t)1 << (page % 64);
        slab->written_pages += !(slab->written[page / 64] & bit);
        slab->written[page / 64] |= bit;
    }
}

enum ak_rc ak_slab_switch_begin(const struct ak_slab *slab, int fd, uint64_t file_at, uint64_t rows,
                                uint64_t ready, uint64_t room, struct ak_slab_switch *to,
                                struct ak_err *err)
{
    size_t used = 0;
    size_t need = 0;
    struct place place = {0};
    AK_ASSERT(slab->in_file && rows <= ready && ready <= room);
    enum ak_rc rc = rows_bytes(slab, rows, &used, err);
    if (rc == AK_OK) {
        rc = rows_bytes(slab, room, &need, err);
    }
    if (rc == AK_OK && (used < HEAP_MAX || fd < 0 || file_at % page_bytes() != 0)) {
        rc = ak_fail(err, AK_UNSUPPORTED, "%zu bytes of rows stay in memory", used);
    }
    if (rc == AK_OK) {
        rc = map_front(slab, fd, file_at, used, need, &place, err);
    }
    if (rc == AK_OK) {
        const char *from = ak_slab_base(slab);
        memcpy(place.base + place.file_bytes, from + place.file_bytes,
               (size_t)ready * slab->stride - place.file_bytes);
        *to = (struct ak_slab_switch){.base = place.base,
                                      .bytes = place.bytes,
                                      .file_bytes = place.file_bytes,
                                      .written = place.written,
                                      .copied = ready};
    }
    return rc;
}

enum ak_rc ak_slab_switch_end(struct ak_slab *slab, struct ak_slab_switch *to, uint64_t rows,
                              struct ak_err *err)
{
    size_t used = (size_t)rows * slab->stride;
    size_t done = (size_t)to->copied * slab->stride;
    if (slab->reserved > to->bytes / slab->stride) {
        ak_slab_switch_drop(to);
        return ak_fail(err, AK_TOO_BIG, "the rows have outgrown the place that was made for them");
    }
    if (used > done) {
        memcpy(to->base + done, ak_slab_base(slab) + done, used - done);
    }
    struct place place = {.base = to->base,
                          .bytes = to->bytes,
                          .home = HOME_REGION,
                          .file_bytes = to->file_bytes,
                          .written = to->written};
    *to = (struct ak_slab_switch){0};
    publish(slab, &place);
    return AK_OK;
}

void ak_slab_switch_drop(struct ak_slab_switch *to)
{
    if (to->base) {
        (void)munmap(to->base, to->bytes);
    }
    ak_free(to->written);
    *to = (struct ak_slab_switch){0};
}

void ak_slab_let_go(const struct ak_slab *slab)
{
    size_t pages = slab->written ? slab->file_bytes / page_bytes() : 0;
    size_t from = 0;
    for (size_t page = 0; page <= pages && pages; page++) {
        if (page == pages || slab->written[page / 64] >> (page % 64) & 1) { /* I4 */
            if (page > from) {
                (void)madvise(ak_slab_base(slab) + from * page_bytes(),
                              (page - from) * page_bytes(), MADV_DONTNEED);
            }
            from = page + 1;
        }
    }
}

/* Advice about rows, wherever they lie: the system takes it for files and lets the rest be. */
static void advise(const struct ak_slab *slab, uint64_t from, uint64_t to, int advice)
{
    char *base = ak_slab_base(slab);
    size_t begin = (size_t)from * slab->stride;
    size_t before = ((uintptr_t)base + begin) % page_bytes();
    if (to > from) {
        (void)madvise(base + begin - before, (size_t)(to - from) * slab->stride + before, advice);
    }
}

void ak_slab_will_read(const struct ak_slab *slab, uint64_t from, uint64_t to)
{
    advise(slab, from, to, MADV_WILLNEED);
}

void ak_slab_was_read(const struct ak_slab *slab, uint64_t from, uint64_t to)
{
    advise(slab, from, to, MADV_COLD);
}
