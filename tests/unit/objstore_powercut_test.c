/* objstore_powercut_test.c — the dir store after a power cut at every operation of a long story:
 * what was acknowledged is there, what was not is there whole or not at all, and the rubbish goes
 * at the next open. */
#include "base/mem.h"
#include "base/rand.h"
#include "objstore/objstore.h"
#include "support/powercut.h"
#include "support/quickfs.h"
#include "support/test.h"
#include <stdlib.h>

#define KEYS 6
#define STEPS 40

static struct ak_err err;

/* A value is a number; its bytes are that number, repeated (number % 5) * 300 + 1 times: some fit
 * one sector, some do not. 0: no object. */
struct story {
    struct powercut *cut;
    struct ak_objstore *store;
    unsigned values[STEPS + 1][KEYS]; /* after each acknowledged step */
    size_t ops[STEPS + 1];            /* operations recorded when it was acknowledged */
    size_t count;
};

static const char *const keys[KEYS] = {"a/b/1.txt", "a/b/2.txt", "a/c/3.txt",
                                       "d.txt",     "a/b",       "e/f/g/h/4.txt"};

static const char *path_of(const char *name)
{
    static char paths[4][1024];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", ak_test_dir(), name);
    return path;
}

static void make_bytes(unsigned value, struct ak_buf *out)
{
    ak_buf_clear(out);
    for (unsigned i = 0; i < value % 5 * 300 + 1; i++) {
        ak_buf_add_fmt(out, "%u,", value);
    }
}

/* The value of the object, 0 when it is absent; fails the test when it is neither. */
static unsigned read_value(struct ak_objstore *store, const char *key, size_t at,
                           struct powercut *cut)
{
    struct ak_buf out;
    struct ak_buf want;
    ak_buf_init(&out, 0);
    ak_buf_init(&want, 0);
    enum ak_rc rc = ak_objstore_get(store, ak_str_of(key), &out, &err);
    unsigned value = 0;
    if (rc != AK_OK) {
        CHECK_INT(rc, AK_NOT_FOUND);
    } else {
        value = (unsigned)strtoul(ak_buf_cstr(&out), NULL, 10);
        make_bytes(value, &want);
        if (value == 0 || !ak_str_eq(ak_buf_str(&out), ak_buf_str(&want))) {
            ak_test_fail(__FILE__, __LINE__,
                         "cut before op %zu (%s): '%s' is half there: %zu bytes", at,
                         powercut_op_text(cut, at), key, out.len);
        }
    }
    ak_buf_release(&out);
    ak_buf_release(&want);
    return value;
}

static void do_step(struct story *story, struct ak_rand *rand, unsigned step)
{
    size_t key = (size_t)ak_rand_below(rand, KEYS);
    struct ak_str name = ak_str_of(keys[key]);
    struct ak_objstore_put_options options = {.only_if_absent = true};
    struct ak_objstore_writer *writer = NULL;
    struct ak_buf bytes;
    unsigned value = step + 1;
    ak_buf_init(&bytes, 0);
    make_bytes(value, &bytes);
    memcpy(story->values[story->count + 1], story->values[story->count], sizeof story->values[0]);
    unsigned *now = &story->values[story->count + 1][key];
    enum ak_rc rc = AK_OK;
    switch (ak_rand_below(rand, 6)) {
    case 0:
        CHECK_OK(ak_objstore_remove(story->store, name, &err));
        value = 0;
        break;
    case 1:
        rc = ak_objstore_put(story->store, name, ak_buf_str(&bytes), &options, &err);
        CHECK_INT(rc, *now ? AK_EXISTS : AK_OK);
        value = *now ? *now : value;
        break;
    case 2:
        CHECK_OK(ak_objstore_create(story->store, name, NULL, &writer, &err));
        CHECK_OK(ak_objstore_write(writer, bytes.p, bytes.len / 2, &err));
        CHECK_OK(
            ak_objstore_write(writer, bytes.p + bytes.len / 2, bytes.len - bytes.len / 2, &err));
        CHECK_OK(ak_objstore_commit(writer, NULL, &err));
        break;
    case 3: { /* a local file that was written and not synced: the store must do it */
        struct ak_file *file = NULL;
        const char *path = path_of("live/local");
        CHECK_OK(ak_fs_open(powercut_fs(story->cut), path,
                            AK_OPEN_WRITE | AK_OPEN_CREATE | AK_OPEN_EXCLUSIVE, &file, &err));
        CHECK_OK(ak_file_write(file, 0, bytes.p, bytes.len, &err));
        ak_file_close(file);
        CHECK_OK(ak_objstore_put_file(story->store, name, powercut_fs(story->cut), path, NULL, NULL,
                                      &err));
        CHECK_OK(ak_fs_remove(powercut_fs(story->cut), path, &err));
        break;
    }
    default:
        CHECK_OK(ak_objstore_put(story->store, name, ak_buf_str(&bytes), NULL, &err));
    }
    *now = value;
    story->count++;
    story->ops[story->count] = powercut_ops(story->cut);
    ak_buf_release(&bytes);
}

/* The last step acknowledged before the cut. */
static size_t acknowledged_at(const struct story *story, size_t at)
{
    size_t step = 0;
    while (step < story->count && story->ops[step + 1] <= at) {
        step++;
    }
    return step;
}

static bool count_tmp(void *ctx, struct ak_str name)
{
    *(size_t *)ctx += !ak_str_has_suffix(name, AK_STR(".lock"));
    return true;
}

static void check_image(const struct story *story, size_t at, const char *out)
{
    struct ak_objstore *store = NULL;
    struct ak_arena arena;
    struct ak_object *objects = NULL;
    size_t listed = 0;
    size_t present = 0;
    size_t tmp = 0;
    char path[1100];
    size_t step = acknowledged_at(story, at);
    (void)snprintf(path, sizeof path, "%s/o", out);
    CHECK_OK(ak_objstore_open_dir(quickfs(), path, &store, &err));
    for (size_t k = 0; k < KEYS; k++) {
        unsigned value = read_value(store, keys[k], at, story->cut);
        unsigned before = story->values[step][k];
        unsigned after = step < story->count ? story->values[step + 1][k] : before;
        if (value != before && value != after) {
            ak_test_fail(__FILE__, __LINE__,
                         "cut before op %zu (%s), after step %zu: '%s' is %u, not %u or %u", at,
                         powercut_op_text(story->cut, at), step, keys[k], value, before, after);
        }
        present += value != 0;
    }
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_objstore_list(store, AK_STR(""), AK_STR(""), 100, &arena, &objects, &listed, &err));
    CHECK_INT(listed, present);
    ak_arena_release(&arena);
    (void)snprintf(path, sizeof path, "%s/o/.tmp", out);
    CHECK_OK(ak_fs_list(ak_fs_posix(), path, count_tmp, &tmp, &err));
    CHECK_INT(tmp, 0);
    ak_objstore_close(store);
}

TEST(powercut, after_a_cut_at_any_operation_every_acknowledged_object_is_there_and_none_is_half)
{
    static struct story story;
    static const enum powercut_mode modes[] = {POWERCUT_ALL, POWERCUT_NONE, POWERCUT_RANDOM,
                                               POWERCUT_MIXED, POWERCUT_MIXED};
    struct ak_rand rand;
    ak_rand_seed(&rand, ak_test_seed());
    char live[1024];
    char out[1024];
    (void)snprintf(live, sizeof live, "%s", path_of("live"));
    (void)snprintf(out, sizeof out, "%s", path_of("out"));
    memset(&story, 0, sizeof story);
    CHECK_OK(ak_fs_make_dir(ak_fs_posix(), live, &err));
    story.cut = powercut_open(quickfs(), live);
    CHECK_OK(ak_objstore_open_dir(powercut_fs(story.cut), path_of("live/o"), &story.store, &err));
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
    ak_objstore_close(story.store);
    powercut_close(story.cut);
}

TEST_MAIN()
