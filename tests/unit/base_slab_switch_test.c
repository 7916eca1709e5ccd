/* base_slab_switch_test.c — slabs that stay in a file: what they take over, keep and give back. */
#include "base/fault.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/slab.h"
#include "support/test.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

enum { STRIDE = 192, ROWS = 20000, MORE = 700, ROOM = 200000 }; /* rows end inside a page */

static struct ak_err err;

static void fill(char *row, uint64_t number, uint32_t version)
{
    struct ak_rand rand;
    ak_rand_seed(&rand, number << 8 | version);
    for (size_t i = 0; i < STRIDE; i += sizeof(uint64_t)) {
        uint64_t word = ak_rand_u64(&rand);
        memcpy(row + i, &word, sizeof word);
    }
}

static bool is(const struct ak_slab *slab, uint64_t number, uint32_t version)
{
    char want[STRIDE];
    fill(want, number, version);
    return memcmp(ak_slab_row(slab, number), want, sizeof want) == 0;
}

static uint64_t wrong_rows(const struct ak_slab *slab, uint64_t from, uint64_t to, uint32_t version)
{
    uint64_t wrong = 0;
    for (uint64_t i = from; i < to; i++) {
        wrong += !is(slab, i, version);
    }
    return wrong;
}

/* Rows [0, count) as a file, behind a page of something else; nothing follows the last. */
static int file_of(const struct ak_slab *slab, uint64_t count)
{
    char name[4096];
    char page[4096] = {1};
    (void)snprintf(name, sizeof name, "%s/rows-XXXXXX", ak_test_dir());
    int fd = mkstemp(name);
    CHECK(fd >= 0 && write(fd, page, sizeof page) == (ssize_t)sizeof page);
    size_t left = (size_t)count * STRIDE;
    const char *at = ak_slab_base(slab);
    while (left) {
        ssize_t n = write(fd, at, left);
        CHECK(n > 0);
        at += n;
        left -= (size_t)n;
    }
    CHECK(unlink(name) == 0); /* a mapping keeps what it maps */
    return fd;
}

static void open_slab(struct ak_slab *slab, struct ak_epoch *epoch, uint64_t rows)
{
    ak_slab_init(slab, STRIDE, false, epoch);
    ak_slab_stay_in_file(slab);
    CHECK_OK(ak_slab_reserve(slab, rows, &err));
    for (uint64_t i = 0; i < rows; i++) {
        fill(ak_slab_row(slab, i), i, 1);
    }
}

static void take(struct ak_slab *slab, uint64_t rows, uint64_t ready, uint64_t all)
{
    struct ak_slab_switch to = {0};
    int fd = file_of(slab, rows);
    CHECK_OK(ak_slab_switch_begin(slab, fd, 4096, rows, ready, ROOM, &to, &err));
    CHECK(close(fd) == 0);
    CHECK_OK(ak_slab_switch_end(slab, &to, all, &err));
}

static void write_row(struct ak_slab *slab, uint64_t row, uint32_t version)
{
    ak_slab_note_write(slab, row);
    fill(ak_slab_row(slab, row), row, version);
}

TEST(slab_switch, takes_the_rows_of_the_file_and_keeps_those_that_came_since)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct ak_slab slab;
    open_slab(&slab, epoch, ROWS + 2 * MORE);
    CHECK(ak_slab_bytes(&slab, ROWS) >= (size_t)ROWS * STRIDE);
    CHECK_INT(ak_slab_file_bytes(&slab, ROWS), 0);
    take(&slab, ROWS, ROWS + MORE, ROWS + 2 * MORE);
    CHECK_INT(wrong_rows(&slab, 0, ROWS + 2 * MORE, 1), 0);
    size_t whole = (size_t)ROWS * STRIDE / 4096 * 4096;
    CHECK_INT(ak_slab_file_bytes(&slab, ROWS + 2 * MORE), whole);
    CHECK(ak_slab_bytes(&slab, ROWS + 2 * MORE) < (size_t)(2 * MORE) * STRIDE + (size_t)3 * 4096);
    CHECK(!ak_slab_is_borrowed(&slab)); /* the file may go: the slab has it */
    CHECK_OK(ak_slab_own(&slab, &err));
    CHECK_INT(ak_slab_file_bytes(&slab, ROWS), whole);
    CHECK_OK(ak_slab_reserve(&slab, ROWS + 3 * MORE, &err)); /* in place */
    for (size_t i = 0; i < STRIDE; i++) {
        CHECK_INT(((const char *)ak_slab_row(&slab, ROWS + 2 * MORE))[i], 0);
    }
    ak_slab_release(&slab);
    ak_epoch_close(epoch);
}

TEST(slab_switch, a_row_written_later_is_memory_until_the_next_file_has_it)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct ak_slab slab;
    open_slab(&slab, epoch, ROWS);
    take(&slab, ROWS, ROWS, ROWS);
    size_t before = ak_slab_bytes(&slab, ROWS);
    size_t files = ak_slab_file_bytes(&slab, ROWS);
    for (uint64_t row = 0; row < 4096; row += 64) {
        write_row(&slab, row, 2);
        write_row(&slab, row, 3); /* counts once */
    }
    write_row(&slab, ROWS - 1, 3); /* behind the last whole page */
    size_t written = ak_slab_bytes(&slab, ROWS) - before;
    CHECK(written >= 64 * (size_t)4096 && written <= 128 * (size_t)4096);
    CHECK_INT(ak_slab_file_bytes(&slab, ROWS), files - written);
    ak_slab_let_go(&slab);
    ak_slab_will_read(&slab, 0, ROWS);
    ak_slab_was_read(&slab, 10, 20);
    uint64_t wrong = 0;
    for (uint64_t row = 0; row < ROWS; row++) {
        bool is_new = (row < 4096 && row % 64 == 0) || row == ROWS - 1;
        wrong += !is(&slab, row, is_new ? 3 : 1);
    }
    CHECK_INT(wrong, 0);
    take(&slab, ROWS, ROWS, ROWS);
    CHECK_INT(ak_slab_bytes(&slab, ROWS), before);
    CHECK(is(&slab, 64, 3) && is(&slab, 65, 1) && is(&slab, ROWS - 1, 3));
    ak_slab_release(&slab);
    ak_epoch_close(epoch);
}

/* Resident bytes of the mapping that holds an address, as the page tables have it. */
static size_t resident(const void *address)
{
    char line[8192];
    bool inside = false;
    size_t kib = 0;
    FILE *maps = fopen("/proc/self/smaps", "r");
    CHECK(maps != NULL);
    while (fgets(line, sizeof line, maps)) {
        char *dash = NULL;
        uintptr_t from = strtoul(line, &dash, 16);
        if (*dash == '-') {
            inside = from <= (uintptr_t)address && (uintptr_t)address < strtoul(dash + 1, NULL, 16);
        } else if (inside && strncmp(line, "Rss:", 4) == 0) {
            kib = strtoul(line + 4, NULL, 10);
        }
    }
    (void)fclose(maps);
    return kib << 10;
}

TEST(slab_switch, what_is_let_go_takes_no_memory_until_it_is_read_again)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct ak_slab slab;
    open_slab(&slab, epoch, ROWS);
    take(&slab, ROWS, ROWS, ROWS);
    CHECK_INT(wrong_rows(&slab, 0, ROWS, 1), 0); /* all is mapped */
    write_row(&slab, 640, 2);
    size_t files = ak_slab_file_bytes(&slab, ROWS);
    CHECK(resident(ak_slab_base(&slab)) >= files);
    ak_slab_let_go(&slab);
    CHECK(resident(ak_slab_base(&slab)) <= (size_t)2 * 4096); /* what was written */
    CHECK(is(&slab, 640, 2) && is(&slab, 639, 1));
    CHECK_INT(wrong_rows(&slab, 700, ROWS, 1), 0);
    ak_slab_release(&slab);
    ak_epoch_close(epoch);
}

TEST(slab_switch, whatever_fails_leaves_the_rows_where_they_were)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct ak_slab slab;
    struct ak_slab_switch to = {0};
    open_slab(&slab, epoch, ROWS);
    char *base = ak_slab_base(&slab);
    int fd = file_of(&slab, ROWS);
    for (int64_t n = 0;; n++) {
        ak_fault_alloc_at(n);
        enum ak_rc rc = ak_slab_switch_begin(&slab, fd, 4096, ROWS, ROWS, ROOM, &to, &err);
        bool fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK_RC(fired ? AK_NOMEM : AK_OK, rc);
        CHECK(ak_slab_base(&slab) == base && (!fired || err.text[0]));
        if (!fired) {
            CHECK(n >= 3);
            break;
        }
    }
    ak_slab_switch_drop(&to);
    ak_slab_switch_drop(&to);
    CHECK(ak_slab_base(&slab) == base);
    CHECK_RC(AK_CORRUPT,
             ak_slab_switch_begin(&slab, fd, 4096, ROWS + 1, ROWS + 1, ROOM, &to, &err));
    CHECK_RC(AK_UNSUPPORTED, ak_slab_switch_begin(&slab, fd, 4096, 100, ROWS, ROOM, &to, &err));
    CHECK_RC(AK_UNSUPPORTED, ak_slab_switch_begin(&slab, fd, 64, ROWS, ROWS, ROOM, &to, &err));
    CHECK_RC(AK_UNSUPPORTED, ak_slab_switch_begin(&slab, -1, 4096, ROWS, ROWS, ROOM, &to, &err));
    CHECK_RC(AK_IO, ak_slab_switch_begin(&slab, 987654, 4096, ROWS, ROWS, ROOM, &to, &err));
    CHECK_OK(ak_slab_switch_begin(&slab, fd, 4096, ROWS, ROWS, ROWS, &to, &err));
    CHECK_OK(ak_slab_reserve(&slab, to.bytes / STRIDE + 1, &err)); /* it outgrows the place */
    CHECK_RC(AK_TOO_BIG, ak_slab_switch_end(&slab, &to, ROWS, &err));
    CHECK(to.base == NULL);
    CHECK_INT(wrong_rows(&slab, 0, ROWS, 1), 0);
    CHECK_INT(ak_slab_file_bytes(&slab, ROWS), 0);
    CHECK(close(fd) == 0);
    ak_slab_release(&slab);
    ak_epoch_close(epoch);
}

TEST(slab_switch, a_view_is_thawed_into_pages_that_stay_the_file_s)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct ak_slab first;
    struct ak_slab slab;
    open_slab(&first, epoch, ROWS);
    int fd = file_of(&first, ROWS);
    char *p = mmap(NULL, 4096 + (size_t)ROWS * STRIDE, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED);
    ak_slab_init_view(&slab, STRIDE, false, epoch, p + 4096, ROWS, fd, 4096);
    ak_slab_stay_in_file(&slab);
    CHECK_INT(ak_slab_bytes(&slab, ROWS), 0);
    CHECK_INT(ak_slab_file_bytes(&slab, ROWS), (size_t)ROWS * STRIDE);
    CHECK(ak_slab_is_borrowed(&slab));
    CHECK_OK(ak_slab_own(&slab, &err)); /* what maps it may go */
    CHECK(!ak_slab_is_borrowed(&slab));
    CHECK(munmap(p, 4096 + (size_t)ROWS * STRIDE) == 0 && close(fd) == 0);
    CHECK_INT(ak_slab_bytes(&slab, ROWS) > 4096, 0);
    CHECK_OK(ak_slab_reserve(&slab, ROWS + 1, &err));
    write_row(&slab, 5, 2);
    CHECK(is(&slab, 5, 2) && is(&slab, 6, 1));
    CHECK_INT(wrong_rows(&slab, 100, ROWS, 1), 0);
    ak_slab_release(&slab);
    ak_slab_release(&first);
    ak_epoch_close(epoch);
}

struct readers {
    struct ak_epoch *epoch;
    struct ak_slab slab;
    _Atomic bool stop;
    _Atomic uint64_t wrong;
    _Atomic uint64_t read;
};

static void *read_rows(void *arg)
{
    struct readers *r = arg;
    struct ak_rand rand;
    ak_rand_seed(&rand, 5);
    while (!atomic_load(&r->stop)) {
        unsigned token = ak_epoch_enter(r->epoch);
        for (int i = 0; i < 32; i++) {
            atomic_fetch_add(&r->wrong, !is(&r->slab, ak_rand_below(&rand, ROWS), 1));
        }
        ak_epoch_leave(r->epoch, token);
        atomic_fetch_add(&r->read, 1);
    }
    return NULL;
}

TEST(slab_switch, readers_never_see_a_row_that_is_not_whole)
{
    struct readers r = {.epoch = ak_epoch_open()};
    pthread_t threads[2];
    open_slab(&r.slab, r.epoch, ROWS);
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_create(&threads[i], NULL, read_rows, &r) == 0);
    }
    for (int round = 0; round < 12; round++) {
        uint64_t before = atomic_load(&r.read);
        take(&r.slab, ROWS, ROWS, ROWS);
        (void)ak_epoch_collect(r.epoch);
        ak_slab_let_go(&r.slab);
        while (atomic_load(&r.read) == before) {
            (void)usleep(100);
        }
    }
    atomic_store(&r.stop, true);
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    CHECK_INT(atomic_load(&r.wrong), 0);
    ak_slab_release(&r.slab);
    ak_epoch_close(r.epoch);
}

TEST_MAIN()
