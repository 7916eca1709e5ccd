/* engine_powercut_test.c — what a power cut leaves of log, images and catalog opens to a prefix.
 *
 * One writer upserts, replaces and deletes, and checkpoints now and then, on a file system that
 * records every operation. For cuts after many of those operations an image of what could be on the
 * disk is built and opened: the database must hold exactly the first p writes, where p is at least
 * the number acknowledged by then. It must accept a write, and still hold all of that when it is
 * opened once more. With durability async nothing counts as acknowledged: then any prefix will do.
 */
#include "base/rand.h"
#include "engine/engine.h"
#include "support/powercut.h"
#include "support/test.h"
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WRITES = 160, KEYS = 40, DIMENSION = 16 };

struct step {
    unsigned key;
    bool removing;
    size_t acked_at; /* operations recorded when it was acknowledged */
};

static struct ak_uuid id_of(unsigned key)
{
    struct ak_uuid id = {{0x01, 0x90}};
    id.b[6] = 0x70;
    id.b[8] = 0x80;
    id.b[15] = (uint8_t)key;
    return id;
}

static int run_command(const char *command)
{
    pid_t pid = fork();
    if (pid == 0) {
        (void)execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    return pid > 0 && waitpid(pid, &status, 0) == pid ? status : -1;
}

static void vector_of(unsigned step, float out[DIMENSION])
{
    struct ak_rand rand;
    ak_rand_seed(&rand, step + 1);
    for (int i = 0; i < DIMENSION; i++) {
        out[i] = (float)ak_rand_normal(&rand);
    }
}

static struct ak_engine_options options_of(struct ak_fs *fs, const char *dir,
                                           enum ak_durability durability)
{
    return (struct ak_engine_options){.fs = fs,
                                      .dir = dir,
                                      .durability = durability,
                                      .wal_segment_bytes = 64 << 10,
                                      .wal_max_bytes = 128 << 10,
                                      .build_threads = 1};
}

static enum ak_rc write_step(struct ak_engine *engine, struct ak_collection *collection,
                             const struct step *step, unsigned number, struct ak_err *err)
{
    struct ak_uuid id = id_of(step->key);
    struct ak_write write;
    float vector[DIMENSION];
    /* Long metadata makes some images files and some blobs in the catalog. */
    char text[2048];
    int len = snprintf(text, sizeof text, "{\"step\":%u,\"pad\":\"%0*d\"}", number,
                       (int)(number * 37 % 1900), 0);
    vector_of(number, vector);
    struct ak_document doc = {.id = id, .vector = vector, .metadata = {text, (size_t)len}};
    enum ak_rc rc = step->removing
                        ? ak_collection_delete(collection, &id, 1, &write, err)
                        : ak_collection_upsert(collection, &doc, 1, true, NULL, &write, err);
    return rc == AK_OK ? ak_engine_commit(engine, write.commit, err) : rc;
}

static void run(struct powercut *cut, const char *dir, enum ak_durability durability,
                struct step *steps, struct ak_rand *rand, size_t *created_at)
{
    struct ak_err err;
    struct ak_engine *engine = NULL;
    struct ak_collection *collection = NULL;
    struct ak_collection_info made;
    struct ak_engine_options options = options_of(powercut_fs(cut), dir, durability);
    struct ak_collection_info spec = {.name = AK_STR("docs"),
                                      .dimension = DIMENSION,
                                      .metric = AK_METRIC_L2,
                                      .index = ak_index_params_default()};
    CHECK_OK(ak_engine_open(&options, &engine, &err));
    CHECK_OK(ak_engine_create(engine, &spec, &made, &err));
    *created_at = powercut_ops(cut);
    CHECK_OK(ak_engine_get(engine, AK_STR("docs"), &collection, &err));
    for (unsigned i = 0; i < WRITES; i++) {
        steps[i] = (struct step){.key = (unsigned)ak_rand_below(rand, KEYS),
                                 .removing = ak_rand_below(rand, 5) == 0};
        CHECK_OK(write_step(engine, collection, &steps[i], i, &err));
        steps[i].acked_at = powercut_ops(cut);
        if (i % 23 == 22) {
            CHECK_OK(ak_engine_checkpoint(engine, collection, &err));
        }
    }
    ak_collection_unref(collection);
    ak_engine_close(engine);
}

/* Does the database hold exactly the first `prefix` writes? */
static bool holds_prefix(struct ak_collection *collection, const struct step *steps,
                         unsigned prefix)
{
    int last[KEYS];
    struct ak_err err;
    struct ak_arena arena;
    bool same = true;
    for (int k = 0; k < KEYS; k++) {
        last[k] = -1;
    }
    for (unsigned i = 0; i < prefix; i++) {
        last[steps[i].key] = steps[i].removing ? -1 : (int)i;
    }
    ak_arena_init(&arena, 0);
    for (unsigned k = 0; same && k < KEYS; k++) {
        struct ak_uuid id = id_of(k);
        struct ak_found found;
        enum ak_rc rc =
            ak_collection_fetch(collection, &id, AK_INCLUDE_VECTOR, &arena, &found, &err);
        float want[DIMENSION];
        vector_of((unsigned)(last[k] < 0 ? 0 : last[k]), want);
        same = last[k] < 0 ? rc == AK_NOT_FOUND
                           : rc == AK_OK && memcmp(found.vector, want, sizeof want) == 0;
    }
    ak_arena_release(&arena);
    return same;
}

/* How many writes the database holds the effects of: at least `acked`, at most `issued`. */
static unsigned prefix_of(struct powercut *cut, size_t at, struct ak_collection *collection,
                          const struct step *steps, unsigned acked, unsigned issued)
{
    for (unsigned prefix = acked; prefix <= issued; prefix++) {
        if (holds_prefix(collection, steps, prefix)) {
            return prefix;
        }
    }
    ak_test_fail(__FILE__, __LINE__,
                 "cut before operation %zu (%s): not a prefix of %u to %u writes", at,
                 powercut_op_text(cut, at), acked, issued);
}

static struct ak_engine *open_image(struct powercut *cut, size_t at, const char *dir)
{
    struct ak_err err;
    struct ak_engine *engine = NULL;
    struct ak_engine_options options = options_of(NULL, dir, AK_DURABILITY_SYNC);
    if (ak_engine_open(&options, &engine, &err) != AK_OK) {
        ak_test_fail(__FILE__, __LINE__, "cut before operation %zu (%s): %s", at,
                     powercut_op_text(cut, at), err.text);
    }
    return engine;
}

static void check_image(struct powercut *cut, size_t at, const char *dir,
                        enum ak_durability durability, struct step *steps, size_t created_at)
{
    struct ak_err err;
    struct ak_collection *collection = NULL;
    unsigned issued = 0;
    while (issued < WRITES && steps[issued].acked_at <= at) {
        issued++;
    }
    unsigned acked = durability == AK_DURABILITY_SYNC ? issued : 0;
    issued = durability == AK_DURABILITY_SYNC && issued < WRITES ? issued + 1 : WRITES;
    struct ak_engine *engine = open_image(cut, at, dir);
    enum ak_rc rc = ak_engine_get(engine, AK_STR("docs"), &collection, &err);
    if (at < created_at && rc == AK_NOT_FOUND) {
        ak_engine_close(engine);
        return;
    }
    CHECK_OK(rc);
    unsigned prefix = prefix_of(cut, at, collection, steps, acked, issued);
    steps[WRITES] = (struct step){.key = KEYS};
    CHECK_OK(write_step(engine, collection, &steps[WRITES], WRITES, &err));
    CHECK_OK(ak_engine_verify(engine, AK_STR("docs"), &err));
    ak_collection_unref(collection);
    if (at % 2) { /* half of them crash again: what counts is that nothing was closed in order */
        char copy[700];
        char command[2400];
        (void)snprintf(copy, sizeof copy, "%s-again", dir);
        (void)snprintf(command, sizeof command, "rm -rf '%s' && cp -r '%s' '%s'", copy, dir, copy);
        CHECK_INT(run_command(command), 0);
        ak_engine_close(engine);
        engine = open_image(cut, at, copy);
    } else {
        ak_engine_close(engine);
        engine = open_image(cut, at, dir);
    }
    CHECK_OK(ak_engine_get(engine, AK_STR("docs"), &collection, &err));
    CHECK(holds_prefix(collection, steps, prefix));
    struct ak_uuid id = id_of(KEYS);
    struct ak_arena arena;
    struct ak_found found;
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_collection_fetch(collection, &id, 0, &arena, &found, &err));
    ak_arena_release(&arena);
    ak_collection_unref(collection);
    ak_engine_close(engine);
}

static void cut_everywhere(enum ak_durability durability, size_t images)
{
    static struct step steps[WRITES + 1];
    struct ak_rand rand;
    char dir[600];
    char out[600];
    size_t created_at = 0;
    ak_rand_seed(&rand, ak_test_seed());
    (void)snprintf(dir, sizeof dir, "%s/db", ak_test_dir());
    (void)snprintf(out, sizeof out, "%s/image", ak_test_dir());
    struct ak_err err;
    CHECK_OK(ak_fs_make_dirs(ak_fs_posix(), dir, &err));
    struct powercut *cut = powercut_open(ak_fs_posix(), dir);
    run(cut, dir, durability, steps, &rand, &created_at);
    size_t ops = powercut_ops(cut);
    const char *wanted = getenv("AKIDB_POWERCUT_IMAGES");
    images = wanted ? strtoull(wanted, NULL, 10) : images;
    static const enum powercut_mode modes[] = {POWERCUT_RANDOM, POWERCUT_MIXED, POWERCUT_ALL,
                                               POWERCUT_NONE};
    for (size_t i = 0; i < images; i++) {
        size_t at = i < 2 ? i * ops : ak_rand_below(&rand, ops + 1);
        powercut_image(cut, at, modes[i % 4], &rand, out);
        check_image(cut, at, out, durability, steps, created_at);
    }
    powercut_close(cut);
}

TEST(engine_powercut, every_image_opens_to_a_prefix_with_all_that_was_acknowledged)
{
    cut_everywhere(AK_DURABILITY_SYNC, 500);
}

TEST(engine_powercut, without_syncs_an_image_still_opens_to_a_prefix_and_keeps_what_is_written_then)
{
    cut_everywhere(AK_DURABILITY_ASYNC, 300);
}

TEST_MAIN()
