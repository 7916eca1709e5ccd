#include "base/mem.h"
#include "base/rand.h"
#include "catalog/catalog.h"
#include "support/powercut.h"
#include "support/quickfs.h"
#include "support/test.h"

#define COLLECTIONS 8
#define EVENTS_MAX 400
#define IMAGE_MAX 60000

static struct ak_err err;

/* Everything that the catalog of these tests can hold. */
struct state {
    bool exists[COLLECTIONS];
    uint64_t lsn[COLLECTIONS];
    uint64_t image[COLLECTIONS]; /* 0: none; else every byte is this number's low byte */
    uint64_t image_len[COLLECTIONS];
    uint64_t setting;
};

/* states[i] is what i acknowledged changes make; ops[i] the operations recorded when it was. */
struct story {
    struct powercut *cut;
    struct ak_catalog *catalog;
    struct state states[EVENTS_MAX + 1];
    size_t ops[EVENTS_MAX + 1];
    size_t count;
};

static const char *path_of(const char *folder, const char *name)
{
    static char path[1024];
    (void)snprintf(path, sizeof path, "%s/%s/%s", ak_test_dir(), folder, name);
    return path;
}

static struct ak_uuid id_of(unsigned n)
{
    struct ak_uuid id = {{0x01, 0x93, 0, 0, 0, 0, 0x70}};
    id.b[15] = (uint8_t)n;
    return id;
}

/* The state after the next change; it counts from acknowledged() on. */
static struct state *next_state(struct story *story)
{
    AK_ASSERT(story->count < EVENTS_MAX);
    story->states[story->count + 1] = story->states[story->count];
    return &story->states[story->count + 1];
}

static void acknowledged(struct story *story)
{
    story->count++;
    story->ops[story->count] = powercut_ops(story->cut);
}

static void create(struct story *story, unsigned n)
{
    char name[32];
    (void)snprintf(name, sizeof name, "name %u", n);
    struct ak_collection_info info = {.id = id_of(n),
                                      .name = ak_str_of(name),
                                      .dimension = 8 + n,
                                      .index = ak_index_params_default(),
                                      .state = AK_COLLECTION_READY};
    struct state *next = next_state(story);
    next->exists[n] = true;
    next->lsn[n] = next->image[n] = next->image_len[n] = 0;
    CHECK_OK(ak_catalog_create(story->catalog, &info, &err));
    acknowledged(story);
}

static void remove_one(struct story *story, unsigned n)
{
    struct ak_uuid id = id_of(n);
    struct state *next = next_state(story);
    next->exists[n] = false;
    next->lsn[n] = next->image[n] = next->image_len[n] = 0;
    CHECK_OK(ak_catalog_delete(story->catalog, &id, &err));
    acknowledged(story);
}

/* Collections n and n + 1 in one transaction, both with an image of `len` bytes (0: a file). */
static void checkpoint_two(struct story *story, unsigned n, uint64_t lsn, size_t len)
{
    static char image[IMAGE_MAX];
    struct ak_checkpoint_commit commits[2];
    struct state *next = next_state(story);
    memset(image, (int)(lsn & 0xFF), len);
    for (unsigned i = 0; i < 2; i++) {
        unsigned at = (n + i) % COLLECTIONS;
        commits[i] = (struct ak_checkpoint_commit){
            .id = id_of(at),
            .checkpoint = {.generation = lsn, .lsn = lsn, .image_bytes = len, .tiny = len > 0},
            .blob = {image, len}};
        if (next->exists[at]) {
            next->lsn[at] = lsn;
            next->image[at] = len ? lsn & 0xFF : 0;
            next->image_len[at] = len;
        }
    }
    CHECK_OK(ak_catalog_checkpoint(story->catalog, commits, 2, &err));
    acknowledged(story);
}

static void set(struct story *story, uint64_t value)
{
    next_state(story)->setting = value;
    CHECK_OK(ak_catalog_set(story->catalog, "wal_from", value, &err));
    acknowledged(story);
}

static void reopen(struct story *story)
{
    ak_catalog_close(story->catalog);
    CHECK_OK(ak_catalog_open(powercut_fs(story->cut), path_of("live", "catalog.db"), NULL,
                             &story->catalog, &err));
}

static enum ak_rc note_row(void *ctx, const struct ak_catalog_row *row, struct ak_err *at)
{
    (void)at;
    struct state *state = ctx;
    unsigned n = row->info.id.b[15];
    CHECK(n < COLLECTIONS && row->info.dimension == 8 + n);
    state->exists[n] = true;
    state->lsn[n] = row->checkpoint.lsn;
    state->image_len[n] = row->checkpoint.image_bytes;
    CHECK(row->checkpoint.generation == row->checkpoint.lsn);
    return AK_OK;
}

static struct state read_state(struct ak_catalog *catalog)
{
    struct state state;
    struct ak_buf image;
    memset(&state, 0, sizeof state);
    ak_buf_init(&image, 0);
    CHECK_OK(ak_catalog_each(catalog, note_row, &state, &err));
    CHECK_OK(ak_catalog_get(catalog, "wal_from", 0, &state.setting, &err));
    for (unsigned n = 0; n < COLLECTIONS; n++) {
        struct ak_uuid id = id_of(n);
        ak_buf_clear(&image);
        if (state.image_len[n] == 0) {
            CHECK_RC(AK_NOT_FOUND, ak_catalog_tiny(catalog, &id, &image, &err));
            continue;
        }
        CHECK_OK(ak_catalog_tiny(catalog, &id, &image, &err));
        CHECK_INT(image.len, state.image_len[n]);
        state.image[n] = (uint8_t)image.p[0];
        for (size_t i = 1; i < image.len; i++) {
            if (image.p[i] != image.p[0]) {
                CHECK_INT(image.p[i], image.p[0]);
            }
        }
    }
    ak_buf_release(&image);
    return state;
}

static bool same(const struct state *a, const struct state *b)
{
    bool is_same = a->setting == b->setting;
    for (unsigned n = 0; n < COLLECTIONS; n++) {
        is_same = is_same && a->exists[n] == b->exists[n] && a->lsn[n] == b->lsn[n] &&
                  a->image[n] == b->image[n] && a->image_len[n] == b->image_len[n];
    }
    return is_same;
}

/* After a cut at `at` the catalog opens by itself and holds what was acknowledged by then, and of
 * the change that was under way all or nothing; it passes its check and takes the next change. */
static void check_cut(struct story *story, size_t at, enum powercut_mode mode, struct ak_rand *rand)
{
    char out[1024];
    (void)snprintf(out, sizeof out, "%s/cut", ak_test_dir());
    powercut_image(story->cut, at, mode, rand, out);
    size_t sure = 0;
    while (sure < story->count && story->ops[sure + 1] <= at) {
        sure++;
    }
    struct ak_catalog *catalog = NULL;
    enum ak_rc rc = ak_catalog_open(quickfs(), path_of("cut", "catalog.db"), NULL, &catalog, &err);
    if (rc != AK_OK) {
        ak_test_fail(__FILE__, __LINE__, "cut %zu (%s), mode %d: %s", at,
                     powercut_op_text(story->cut, at), (int)mode, err.text);
    }
    struct state got = read_state(catalog);
    size_t last = sure < story->count ? sure + 1 : sure;
    if (!same(&got, &story->states[sure]) && !same(&got, &story->states[last])) {
        ak_test_fail(__FILE__, __LINE__,
                     "cut %zu (%s), mode %d: neither what %zu changes made nor the next", at,
                     powercut_op_text(story->cut, at), (int)mode, sure);
    }
    CHECK_OK(ak_catalog_check(catalog, &err));
    CHECK_OK(ak_catalog_set(catalog, "after", at, &err));
    ak_catalog_close(catalog);
}

static struct story *begin(void)
{
    struct story *story = ak_zalloc(sizeof *story);
    char live[1024];
    (void)snprintf(live, sizeof live, "%s/live", ak_test_dir());
    CHECK_OK(ak_fs_make_dir(ak_fs_posix(), live, &err));
    story->cut = powercut_open(quickfs(), live);
    CHECK_OK(ak_catalog_open(powercut_fs(story->cut), path_of("live", "catalog.db"), NULL,
                             &story->catalog, &err));
    return story;
}

static void end(struct story *story)
{
    powercut_close(story->cut);
    ak_free(story);
}

TEST(catalog, a_power_cut_at_any_operation_loses_nothing_acknowledged)
{
    struct ak_rand rand;
    ak_rand_seed(&rand, ak_test_seed());
    struct story *story = begin();
    size_t first = powercut_ops(story->cut); /* the catalog is made: from here on it is there */
    for (unsigned n = 0; n < 4; n++) {
        create(story, n);
    }
    checkpoint_two(story, 0, 11, 5000);
    set(story, 7);
    remove_one(story, 1);
    reopen(story);
    create(story, 1);
    checkpoint_two(story, 1, 12, 300);
    checkpoint_two(story, 0, 13, 0);
    remove_one(story, 2);
    reopen(story);
    set(story, 8);
    ak_catalog_close(story->catalog);
    CHECK(first > 5 && powercut_ops(story->cut) > first + 50);
    for (size_t at = 0; at <= powercut_ops(story->cut); at++) {
        check_cut(story, at, POWERCUT_ALL, NULL);
        check_cut(story, at, POWERCUT_NONE, NULL);
        check_cut(story, at, POWERCUT_RANDOM, &rand);
        check_cut(story, at, POWERCUT_MIXED, &rand);
        check_cut(story, at, POWERCUT_MIXED, &rand);
    }
    end(story);
}

/* Long enough that SQLite moves its log into the database and begins it anew several times. */
TEST(catalog, a_power_cut_while_the_log_is_moved_into_the_database_loses_nothing)
{
    struct ak_rand rand;
    ak_rand_seed(&rand, ak_test_seed());
    struct story *story = begin();
    for (unsigned n = 0; n < COLLECTIONS; n++) {
        create(story, n);
    }
    for (unsigned i = 0; i < 110; i++) {
        checkpoint_two(story, (unsigned)ak_rand_below(&rand, COLLECTIONS), 100 + i,
                       1 + ak_rand_below(&rand, IMAGE_MAX));
        if (i % 10 == 0) {
            unsigned n = (unsigned)ak_rand_below(&rand, COLLECTIONS);
            remove_one(story, n);
            create(story, n);
        }
    }
    ak_catalog_close(story->catalog);
    for (int i = 0; i < 250; i++) {
        size_t at = ak_rand_below(&rand, powercut_ops(story->cut) + 1);
        check_cut(story, at, i % 4 ? POWERCUT_MIXED : POWERCUT_RANDOM, &rand);
    }
    end(story);
}

TEST_MAIN()
