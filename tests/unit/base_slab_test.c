#include "base/fault.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/slab.h"
#include "support/test.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static struct ak_err err;

static uint64_t *row_of(const struct ak_slab *slab, uint64_t row)
{
    return ak_slab_row(slab, row);
}

TEST(slab, rows_keep_their_values_from_one_row_to_far_past_the_heap)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct ak_slab slab;
    ak_slab_init(&slab, 24, true, epoch);
    uint64_t moves = 0;
    char *base = NULL;
    for (uint64_t rows = 1; rows <= 4 * MIB; rows = rows * 5 / 4 + 1) {
        uint64_t before = slab.reserved;
        CHECK_OK(ak_slab_reserve(&slab, rows, &err));
        CHECK(slab.cap >= rows);
        for (uint64_t i = before; i < rows; i++) {
            if (row_of(&slab, i)[0] || row_of(&slab, i)[2]) {
                CHECK_INT(row_of(&slab, i)[0], 0);
            }
            row_of(&slab, i)[0] = i;
            row_of(&slab, i)[2] = ~i;
        }
        moves += base != ak_slab_base(&slab);
        base = ak_slab_base(&slab);
        CHECK((uintptr_t)base % AK_CACHE_LINE == 0);
    }
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < slab.reserved; i++) {
        wrong += row_of(&slab, i)[0] != i || row_of(&slab, i)[2] != ~i;
    }
    CHECK_INT(wrong, 0);
    CHECK(moves < 20);
    ak_slab_release(&slab);
    ak_slab_release(&slab);
    ak_epoch_close(epoch);
}

TEST(slab, growth_inside_a_region_moves_nothing_and_costs_only_touched_pages)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct ak_slab slab;
    ak_slab_init(&slab, 1024, false, epoch);
    CHECK_OK(ak_slab_reserve(&slab, 4096, &err));
    char *base = ak_slab_base(&slab);
    CHECK(slab.cap >= 64 * 1024);
    CHECK_OK(ak_slab_reserve(&slab, slab.cap, &err));
    CHECK(ak_slab_base(&slab) == base);
    CHECK_INT((uintptr_t)base % (2 * MIB), 0);
    CHECK_INT(ak_slab_bytes(&slab, 5), 8192);
    CHECK_INT(ak_slab_bytes(&slab, 4096), 4 * MIB);
    CHECK_INT(ak_slab_bytes(&slab, slab.cap * 2), slab.cap * 1024);
    ak_slab_release(&slab);
    CHECK_INT(ak_slab_bytes(&slab, 5), 0);
    ak_epoch_close(epoch);
}

struct churn {
    struct ak_epoch *epoch;
    struct ak_slab slab;
    _Atomic uint64_t rows; /* written rows: release after the row, acquire before reading it */
    _Atomic bool stop;
    _Atomic uint64_t wrong;
};

static void *read_rows(void *arg)
{
    struct churn *churn = arg;
    struct ak_rand rand;
    ak_rand_seed(&rand, (uint64_t)(uintptr_t)&rand);
    while (!atomic_load(&churn->stop)) {
        unsigned token = ak_epoch_enter(churn->epoch);
        uint64_t rows = atomic_load_explicit(&churn->rows, memory_order_acquire);
        const char *base = ak_slab_base(&churn->slab);
        for (int i = 0; i < 100 && rows; i++) {
            uint64_t at = ak_rand_below(&rand, rows);
            const uint64_t *row = (const uint64_t *)(const void *)(base + at * 4096);
            if (row[0] != at || row[511] != at * 7) {
                atomic_fetch_add(&churn->wrong, 1);
            }
        }
        ak_epoch_leave(churn->epoch, token);
    }
    return NULL;
}

TEST(slab, readers_see_whole_rows_while_the_slab_grows_and_moves)
{
    struct churn churn = {.epoch = ak_epoch_open()};
    ak_slab_init(&churn.slab, 4096, false, churn.epoch);
    pthread_t readers[3];
    for (int i = 0; i < 3; i++) {
        CHECK(pthread_create(&readers[i], NULL, read_rows, &churn) == 0);
    }
    for (uint64_t i = 0; i < 30000; i++) {
        CHECK_OK(ak_slab_reserve(&churn.slab, i + 1, &err));
        row_of(&churn.slab, i)[0] = i;
        row_of(&churn.slab, i)[511] = i * 7;
        atomic_store_explicit(&churn.rows, i + 1, memory_order_release);
    }
    atomic_store(&churn.stop, true);
    for (int i = 0; i < 3; i++) {
        (void)pthread_join(readers[i], NULL);
    }
    CHECK_INT(atomic_load(&churn.wrong), 0);
    ak_slab_release(&churn.slab);
    ak_epoch_close(churn.epoch);
}

TEST(slab, a_reader_keeps_its_base_until_it_leaves)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct ak_slab slab;
    ak_slab_init(&slab, 8, false, epoch);
    CHECK_OK(ak_slab_reserve(&slab, 1, &err));
    *row_of(&slab, 0) = 42;
    unsigned token = ak_epoch_enter(epoch);
    const uint64_t *held = row_of(&slab, 0);
    for (uint64_t rows = 100; rows < 40 * MIB; rows *= 10) {
        CHECK_OK(ak_slab_reserve(&slab, rows, &err));
        CHECK_INT(*held, 42);
    }
    CHECK(ak_epoch_collect(epoch) > 0);
    ak_epoch_leave(epoch, token);
    CHECK_INT(*row_of(&slab, 0), 42);
    ak_slab_release(&slab);
    ak_epoch_close(epoch);
}

/* A file of `lead` bytes, then `len` bytes with byte i = i·31, then bytes that are not zero. */
static int make_file(size_t lead, size_t len, size_t tail, char **view)
{
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/rows", ak_test_dir());
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    char *bytes = ak_alloc(lead + len + tail);
    memset(bytes, 0xEE, lead + len + tail);
    for (size_t i = 0; i < len; i++) {
        bytes[lead + i] = (char)(i * 31);
    }
    CHECK(write(fd, bytes, lead + len + tail) == (ssize_t)(lead + len + tail));
    ak_free(bytes);
    *view = mmap(NULL, lead + len + tail, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(*view != MAP_FAILED);
    return fd;
}

static void check_thaw(uint64_t rows, size_t tail, bool with_fd)
{
    enum { STRIDE = 48, LEAD = 8192 };
    size_t len = (size_t)rows * STRIDE;
    struct ak_epoch *epoch = ak_epoch_open();
    char *view = NULL;
    int fd = make_file(LEAD, len, tail, &view);
    struct ak_slab slab;
    ak_slab_init_view(&slab, STRIDE, true, epoch, view + LEAD, rows, with_fd ? fd : -1, LEAD);
    CHECK(ak_slab_is_view(&slab));
    CHECK_INT(ak_slab_bytes(&slab, rows), 0);
    CHECK_OK(ak_slab_thaw(&slab, &err));
    CHECK_OK(ak_slab_thaw(&slab, &err));
    CHECK(!ak_slab_is_view(&slab));
    CHECK(len == 0 || memcmp(ak_slab_base(&slab), view + LEAD, len) == 0);
    char *base = ak_slab_base(&slab);
    CHECK_OK(ak_slab_reserve(&slab, rows + 1000, &err));
    CHECK(len < 2 * MIB || ak_slab_base(&slab) == base);
    for (uint64_t i = rows; i < rows + 1000; i++) {
        const char *row = ak_slab_row(&slab, i);
        for (size_t j = 0; j < STRIDE; j++) {
            if (row[j]) {
                CHECK_INT(row[j], 0);
            }
        }
    }
    memset(ak_slab_base(&slab), 0x55, (size_t)(rows + 1000) * STRIDE);
    CHECK_OK(ak_slab_reserve(&slab, rows + 64 * MIB / 16, &err)); /* past the region: all moves */
    CHECK(ak_slab_base(&slab)[(rows + 1000) * STRIDE - 1] == 0x55);
    for (size_t i = 0; i < len; i++) {
        if (view[LEAD + i] != (char)(i * 31)) {
            CHECK_INT(view[LEAD + i], (char)(i * 31));
        }
    }
    ak_slab_release(&slab);
    ak_epoch_close(epoch);
    (void)munmap(view, LEAD + len + tail);
    (void)close(fd);
}

TEST(slab, a_small_view_is_copied_and_its_file_stays_as_it_was)
{
    check_thaw(0, 100, true);
    check_thaw(1, 0, true);
    check_thaw(1000, 100, true);
    check_thaw(1000, 100, false);
}

TEST(slab, a_large_view_becomes_a_private_mapping_and_its_file_stays_as_it_was)
{
    check_thaw(65536, 0, true);     /* 3 MiB: ends on a page, which is the file's last */
    check_thaw(65537, 0, true);     /* ends inside the file's last page */
    check_thaw(65537, 70000, true); /* more bytes follow in the same page and behind */
    check_thaw(65537, 100, false);  /* no file known: a copy */
}

/* Owned as a view, and after it was thawed and written: the file may go from under it. */
static void check_own(uint64_t rows, bool thawed)
{
    enum { STRIDE = 48, LEAD = 8192 };
    size_t len = (size_t)rows * STRIDE;
    struct ak_epoch *epoch = ak_epoch_open();
    char *view = NULL;
    int fd = make_file(LEAD, len, 0, &view);
    struct ak_slab slab;
    char *want = ak_alloc(len + 1);
    memcpy(want, view + LEAD, len);
    ak_slab_init_view(&slab, STRIDE, true, epoch, view + LEAD, rows, fd, LEAD);
    CHECK(ak_slab_is_borrowed(&slab));
    if (thawed) {
        CHECK_OK(ak_slab_thaw(&slab, &err));
        CHECK_OK(ak_slab_reserve(&slab, rows + 10, &err));
        memset(ak_slab_row(&slab, 0), 0x77, STRIDE);
        memset(want, 0x77, STRIDE);
        memset(ak_slab_row(&slab, rows), 0x66, STRIDE); /* a row past the file's */
    }
    const char *before = ak_slab_base(&slab);
    bool is_small = thawed && !ak_slab_is_borrowed(&slab); /* thawing has copied it already */
    unsigned token = ak_epoch_enter(epoch);
    ak_fault_alloc_at(0);
    CHECK_RC(is_small ? AK_OK : AK_NOMEM, ak_slab_own(&slab, &err));
    ak_fault_alloc_at(-1);
    CHECK(ak_slab_base(&slab) == before);
    CHECK_OK(ak_slab_own(&slab, &err));
    CHECK_OK(ak_slab_own(&slab, &err));
    CHECK(!ak_slab_is_borrowed(&slab) && !ak_slab_is_view(&slab));
    CHECK(memcmp(before, want, len) == 0); /* a reader from before */
    ak_epoch_leave(epoch, token);
    (void)ak_epoch_collect(epoch);
    (void)munmap(view, LEAD + len);
    CHECK(ftruncate(fd, 0) == 0); /* a page of it that was still mapped would be a SIGBUS */
    CHECK(memcmp(ak_slab_base(&slab), want, len) == 0);
    CHECK(!thawed || *(const char *)ak_slab_row(&slab, rows) == 0x66);
    CHECK(ak_slab_bytes(&slab, rows) >= len);
    memset(ak_slab_base(&slab), 0x11, len);
    ak_free(want);
    ak_slab_release(&slab);
    ak_epoch_close(epoch);
    (void)close(fd);
}

TEST(slab, owned_rows_outlive_the_file_that_they_came_from)
{
    check_own(100, false);
    check_own(100, true);
    check_own(65537, false);
    check_own(65537, true);
}

TEST(slab, a_file_that_is_shorter_than_its_rows_is_said_to_be_corrupt)
{
    struct ak_epoch *epoch = ak_epoch_open();
    char *view = NULL;
    int fd = make_file(0, 4 * MIB, 0, &view);
    struct ak_slab slab;
    ak_slab_init_view(&slab, 4096, false, epoch, view, 1025, fd, 0);
    CHECK_RC(AK_CORRUPT, ak_slab_thaw(&slab, &err));
    CHECK(ak_slab_is_view(&slab));
    ak_slab_release(&slab);
    ak_epoch_close(epoch);
    (void)munmap(view, 4 * MIB);
    (void)close(fd);
}

TEST(slab, rows_past_the_address_space_are_too_big)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct ak_slab slab;
    ak_slab_init(&slab, 4096, false, epoch);
    CHECK_RC(AK_TOO_BIG, ak_slab_reserve(&slab, UINT64_MAX, &err));
    CHECK_RC(AK_TOO_BIG, ak_slab_reserve(&slab, UINT64_MAX / 4096, &err));
    CHECK_RC(AK_NOMEM, ak_slab_reserve(&slab, (uint64_t)1 << 44, &err));
    CHECK_OK(ak_slab_reserve(&slab, 10, &err));
    ak_slab_release(&slab);
    ak_epoch_close(epoch);
}

TEST(slab, a_failed_allocation_leaves_the_rows_as_they_were)
{
    const uint64_t steps[] = {1, 100, 200000, 200000000};
    struct ak_epoch *epoch = ak_epoch_open();
    struct ak_slab slab;
    ak_slab_init(&slab, 16, false, epoch);
    for (size_t i = 0; i < 4; i++) {
        uint64_t cap = slab.cap;
        const char *base = ak_slab_base(&slab);
        ak_fault_alloc_at(0);
        CHECK_RC(AK_NOMEM, ak_slab_reserve(&slab, steps[i], &err));
        CHECK(ak_fault_alloc_fired());
        CHECK(slab.cap == cap && ak_slab_base(&slab) == base);
        CHECK(cap == 0 || *row_of(&slab, 0) == 7);
        CHECK_OK(ak_slab_reserve(&slab, steps[i], &err));
        *row_of(&slab, 0) = 7;
    }
    ak_slab_release(&slab);

    const size_t lens[] = {4096, 4 * MIB};
    for (size_t i = 0; i < 2; i++) {
        char *view = NULL;
        int fd = make_file(0, lens[i], 0, &view);
        ak_slab_init_view(&slab, 64, false, epoch, view, lens[i] / 64, fd, 0);
        ak_fault_alloc_at(0);
        CHECK_RC(AK_NOMEM, ak_slab_thaw(&slab, &err));
        CHECK(ak_slab_is_view(&slab) && ak_slab_base(&slab) == view);
        CHECK_OK(ak_slab_thaw(&slab, &err));
        CHECK(memcmp(ak_slab_base(&slab), view, lens[i]) == 0);
        ak_slab_release(&slab);
        (void)munmap(view, lens[i]);
        (void)close(fd);
    }
    ak_fault_alloc_at(-1);
    ak_epoch_close(epoch);
}

static size_t address_space_in_use(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f != NULL);
    unsigned long long pages = 0;
    CHECK(fscanf(f, "%llu", &pages) == 1);
    (void)fclose(f);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

TEST(slab, a_region_is_smaller_when_the_system_refuses_more)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct ak_slab slab;
    ak_slab_init(&slab, 1024, false, epoch);
    struct rlimit before;
    CHECK(getrlimit(RLIMIT_AS, &before) == 0);
    struct rlimit tight = before;
    tight.rlim_cur = address_space_in_use() + 50 * MIB;
    CHECK(setrlimit(RLIMIT_AS, &tight) == 0);
    enum ak_rc some = ak_slab_reserve(&slab, 20 * 1024, &err);
    uint64_t cap = slab.cap;
    enum ak_rc more = ak_slab_reserve(&slab, 100 * 1024, &err);
    CHECK(setrlimit(RLIMIT_AS, &before) == 0);
    CHECK_INT(some, AK_OK);
    CHECK_INT(more, AK_NOMEM);
    CHECK_INT(cap, 40 * 1024);
    ak_slab_release(&slab);
    ak_epoch_close(epoch);
}

/* --- Giving back --- */

static bool is_zero(const struct ak_slab *slab, uint64_t from, uint64_t to)
{
    const char *at = ak_slab_row(slab, from);
    const char *end = ak_slab_row(slab, to);
    while (at < end && *at == 0) {
        at++;
    }
    return at == end;
}

/* Shrink, look, and grow again. */
static void check_shrink(struct ak_slab *slab, uint64_t from, uint64_t to)
{
    for (uint64_t i = 0; i < from; i++) {
        *row_of(slab, i) = i + 1;
    }
    size_t before = ak_slab_bytes(slab, from);
    ak_slab_shrink(slab, to);
    CHECK_INT(slab->reserved, to);
    CHECK(ak_slab_bytes(slab, to) < before);
    for (uint64_t i = 0; i < to; i++) {
        CHECK_INT(*row_of(slab, i), i + 1);
    }
    CHECK_OK(ak_slab_reserve(slab, from, &err));
    CHECK(is_zero(slab, to, from));
    for (uint64_t i = 0; i < to; i++) {
        CHECK_INT(*row_of(slab, i), i + 1);
    }
}

TEST(slab, a_shrunk_slab_keeps_its_first_rows_and_the_others_are_new)
{
    const uint64_t cases[][2] = {{1000, 10},        {1000, 0},       {60000, 20000},
                                 {600000, 599000},  {600000, 90000}, {600000, 300001},
                                 {2000000, 700000}, {600000, 0}};
    struct ak_epoch *epoch = ak_epoch_open();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int huge = 0; huge < 2; huge++) {
            struct ak_slab slab;
            ak_slab_init(&slab, sizeof(uint64_t), huge, epoch);
            CHECK_OK(ak_slab_reserve(&slab, cases[i][0], &err));
            if (cases[i][0] - cases[i][1] > 2000) { /* less stays within a large page */
                check_shrink(&slab, cases[i][0], cases[i][1]);
            } else {
                memset(ak_slab_base(&slab), 1, cases[i][0] * sizeof(uint64_t));
                ak_slab_shrink(&slab, cases[i][1]);
                CHECK_OK(ak_slab_reserve(&slab, cases[i][0], &err));
                CHECK(is_zero(&slab, cases[i][1], cases[i][0]));
            }
            ak_slab_release(&slab);
        }
    }
    ak_epoch_close(epoch);
}

TEST(slab, what_a_file_holds_does_not_come_back_in_a_shrunk_slab)
{
    enum { ROWS = 900000, KEPT = 400000 };
    struct ak_epoch *epoch = ak_epoch_open();
    struct ak_slab slab;
    char *view = NULL;
    int fd = make_file(8192, ROWS * sizeof(uint64_t), 100, &view);
    ak_slab_init_view(&slab, sizeof(uint64_t), true, epoch, view, ROWS, fd, 8192);
    CHECK_OK(ak_slab_thaw(&slab, &err));
    CHECK(!is_zero(&slab, KEPT, ROWS));
    uint64_t last = *row_of(&slab, KEPT - 1);
    ak_slab_shrink(&slab, KEPT);
    CHECK_OK(ak_slab_reserve(&slab, ROWS, &err));
    CHECK(is_zero(&slab, KEPT, ROWS));
    CHECK_INT(*row_of(&slab, KEPT - 1), last);
    ak_slab_shrink(&slab, 100); /* a block of its own, nothing of the file is left */
    CHECK(!ak_slab_is_borrowed(&slab));
    ak_slab_release(&slab);
    CHECK(close(fd) == 0);
    ak_epoch_close(epoch);
}

TEST(slab, without_memory_for_a_smaller_block_a_slab_stays_where_it_is)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct ak_slab slab;
    for (uint64_t rows = 1000; rows <= 600000; rows *= 600) {
        ak_slab_init(&slab, sizeof(uint64_t), false, epoch);
        CHECK_OK(ak_slab_reserve(&slab, rows, &err));
        memset(ak_slab_base(&slab), 1, rows * sizeof(uint64_t));
        const char *base = ak_slab_base(&slab);
        ak_fault_alloc_at(0);
        ak_slab_shrink(&slab, 3);
        CHECK(ak_fault_alloc_fired());
        ak_fault_alloc_at(-1);
        CHECK(ak_slab_base(&slab) == base);
        CHECK_INT(*row_of(&slab, 2), 0x0101010101010101);
        CHECK(is_zero(&slab, 3, rows));
        ak_slab_release(&slab);
    }
    ak_epoch_close(epoch);
}

TEST_MAIN()
