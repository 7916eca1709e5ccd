/* mocks3_powercut_test.c — mock-s3 below a folder after a power cut at every operation of a story:
 * what was answered is there, what was not is there whole or not at all. */
#include "base/mem.h"
#include "base/rand.h"
#include "mocks3/store.h"
#include "support/powercut.h"
#include "support/quickfs.h"
#include "support/test.h"
#include <stdlib.h>

#define KEYS 4
#define STEPS 12

/* A value is a number; its bytes are that number, repeated. 0: no object. */
struct story {
    struct powercut *cut;
    struct ak_mock_store *store;
    unsigned values[STEPS + 1][KEYS]; /* after each answered step */
    size_t ops[STEPS + 1];            /* operations recorded when it was answered */
    size_t count;
};

static const char *const keys[KEYS] = {"a/b", "a", "c", "d/e/f"};
static struct ak_mock_fault fault;
static const struct ak_mock_condition always;

static struct ak_mock_store *open_store(const char *root, struct ak_fs *fs)
{
    const struct ak_mock_store_options options = {.root = root, .fs = fs};
    struct ak_mock_store *store = NULL;
    struct ak_err err;
    CHECK_OK(ak_mock_store_open(&options, &store, &err));
    return store;
}

static void make_bytes(unsigned value, struct ak_buf *out)
{
    ak_buf_init(out, 0);
    for (unsigned i = 0; i < value % 4 * 400 + 1; i++) {
        ak_buf_add_fmt(out, "%u,", value);
    }
}

static void put(struct ak_mock_store *store, const char *key, unsigned value)
{
    struct ak_mock_sink sink;
    struct ak_buf bytes;
    const struct ak_mock_fields fields = {.bucket = AK_STR("bucket"),
                                          .key = ak_str_of(key),
                                          .etag = AK_STR("etag"),
                                          .headers = AK_STR("Content-Type: a/b\r\n")};
    make_bytes(value, &bytes);
    ak_mock_sink_init(&sink, store);
    CHECK_INT(ak_mock_sink_write(&sink, ak_buf_str(&bytes), bytes.len, &fault), AK_MOCK_OK);
    CHECK_INT(ak_mock_object_put(store, &sink, &fields, &always, NULL, &fault), AK_MOCK_OK);
    ak_buf_release(&bytes);
}

static void do_step(struct story *story, struct ak_rand *rand, unsigned step)
{
    size_t key = (size_t)ak_rand_below(rand, KEYS);
    unsigned *now = &story->values[story->count + 1][key];
    memcpy(story->values[story->count + 1], story->values[story->count], sizeof story->values[0]);
    if (ak_rand_below(rand, 4) == 0) {
        CHECK_INT(ak_mock_object_remove(story->store, AK_STR("bucket"), ak_str_of(keys[key]),
                                        &always, &fault),
                  AK_MOCK_OK);
        *now = 0;
    } else {
        put(story->store, keys[key], step + 1);
        *now = step + 1;
    }
    story->count++;
    story->ops[story->count] = powercut_ops(story->cut);
}

/* The value of the object, 0 when it is absent; fails the test when it is neither. */
static unsigned read_value(struct ak_mock_store *store, const char *key)
{
    struct ak_mock_item *item = NULL;
    struct ak_mock_view view = {0};
    struct ak_buf want;
    char text[16] = "";
    enum ak_mock_code code =
        ak_mock_object_get(store, AK_STR("bucket"), ak_str_of(key), &item, &view, &fault);
    if (code == AK_MOCK_NoSuchKey) {
        return 0;
    }
    CHECK_INT(code, AK_MOCK_OK);
    (void)snprintf(text, sizeof text, "%.10s", view.bytes.p);
    unsigned value = (unsigned)strtoul(text, NULL, 10);
    make_bytes(value, &want);
    CHECK(value > 0 && ak_str_eq(view.bytes, ak_buf_str(&want)));
    ak_buf_release(&want);
    ak_mock_view_release(&view);
    ak_mock_item_unref(item);
    return value;
}

static void check_image(const struct story *story, size_t at, const char *out)
{
    char root[1100];
    size_t step = 0;
    (void)snprintf(root, sizeof root, "%s/root", out);
    while (step < story->count && story->ops[step + 1] <= at) {
        step++;
    }
    struct ak_mock_store *store = open_store(root, quickfs());
    for (size_t k = 0; k < KEYS; k++) {
        unsigned value = read_value(store, keys[k]);
        unsigned before = story->values[step][k];
        unsigned after = step < story->count ? story->values[step + 1][k] : before;
        if (value != before && value != after) {
            ak_test_fail(__FILE__, __LINE__,
                         "cut before op %zu (%s), after step %zu: '%s' is %u, not %u or %u", at,
                         powercut_op_text(story->cut, at), step, keys[k], value, before, after);
        }
    }
    ak_mock_store_close(store);
}

TEST(powercut, after_a_cut_at_any_operation_every_answered_object_is_there_and_none_is_half)
{
    static struct story story;
    static const enum powercut_mode modes[] = {POWERCUT_NONE, POWERCUT_RANDOM, POWERCUT_MIXED};
    struct ak_rand rand;
    struct ak_err err;
    char live[1024];
    char root[1100];
    char out[1024];
    ak_rand_seed(&rand, ak_test_seed());
    (void)snprintf(live, sizeof live, "%s/live", ak_test_dir());
    (void)snprintf(root, sizeof root, "%s/root", live);
    (void)snprintf(out, sizeof out, "%s/out", ak_test_dir());
    memset(&story, 0, sizeof story);
    CHECK_OK(ak_fs_make_dir(ak_fs_posix(), live, &err));
    story.cut = powercut_open(quickfs(), live);
    story.store = open_store(root, powercut_fs(story.cut));
    CHECK_INT(ak_mock_bucket_create(story.store, AK_STR("bucket"), AK_STR(""), &fault), AK_MOCK_OK);
    size_t opened = powercut_ops(story.cut);
    for (unsigned step = 0; step < STEPS; step++) {
        do_step(&story, &rand, step);
    }
    size_t ops = powercut_ops(story.cut);
    for (size_t at = opened; at <= ops; at++) {
        for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
            powercut_image(story.cut, at, modes[i], &rand, out);
            check_image(&story, at, out);
        }
    }
    ak_mock_store_close(story.store);
    powercut_close(story.cut);
}

TEST_MAIN()
