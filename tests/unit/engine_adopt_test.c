/* engine_adopt_test.c — an image becomes a collection's state at one instant, or not at all. */
#include "base/fault.h"
#include "engine_docs.h"
#include "support/powercut.h"
#include "support/quickfs.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

enum { MANY = 1200 };

static unsigned number; /* of makers */

/* A staged image of documents [0, count) in version `version`, made by another engine, so that its
 * LSN means nothing here. Returns the path. */
static const char *stage(struct ak_engine *engine, unsigned count, unsigned version)
{
    static char path[2048];
    char dir[1024];
    (void)snprintf(dir, sizeof dir, "%s/maker-%u", ak_test_dir(), ++number);
    struct ak_engine *maker = docs_engine(dir);
    struct ak_hold *hold = NULL;
    (void)docs_create(maker, "made");
    CHECK_OK(docs_put(maker, "made", 0, count, 9)); /* replaced: the image has tombstones too */
    CHECK_OK(docs_put(maker, "made", 0, count, version));
    CHECK_OK(ak_engine_hold(maker, AK_STR("made"), &hold, &err));
    docs_stage(engine, hold, number, path, sizeof path);
    ak_hold_release(hold);
    ak_engine_close(maker);
    return path;
}

static enum ak_rc adopt(struct ak_engine *engine, const struct ak_uuid *replace, const char *name,
                        const char *path, uint64_t documents)
{
    struct ak_collection_info info = docs_spec(name);
    struct ak_collection_info adopted;
    struct ak_engine_adopt_options options = {.replace = replace != NULL, .documents = documents};
    info.id = replace ? *replace : (struct ak_uuid){{0}};
    enum ak_rc rc = ak_engine_adopt(engine, &info, path, &options, &adopted, &err);
    CHECK(rc != AK_OK || ak_str_eq(adopted.name, ak_str_of(name)));
    return rc;
}

static struct ak_engine *reopen(struct ak_engine *engine, const char *dir)
{
    ak_engine_close(engine);
    return docs_engine(dir);
}

static void check_all_are(struct ak_engine *engine, const char *name, unsigned count,
                          unsigned version)
{
    CHECK_INT(docs_count(engine, name), count);
    for (unsigned n = 0; n < count; n += 7) {
        CHECK_INT(docs_version(engine, name, n), version);
    }
    CHECK_OK(ak_engine_verify(engine, ak_str_of(name), &err));
}

TEST(engine_adopt, an_image_of_another_node_becomes_a_new_collection_that_lives_on)
{
    const char *dir = ak_test_dir();
    struct ak_engine *engine = docs_engine(dir);
    CHECK_OK(adopt(engine, NULL, "new", stage(engine, MANY, 1), MANY));
    check_all_are(engine, "new", MANY, 1);
    engine = reopen(engine, dir);
    check_all_are(engine, "new", MANY, 1);
    CHECK_OK(docs_put(engine, "new", 0, 50, 2));
    engine = reopen(engine, dir);
    CHECK_INT(docs_version(engine, "new", 49), 2);
    CHECK_INT(docs_version(engine, "new", 50), 1);
    CHECK_INT(docs_count(engine, "new"), MANY);
    ak_engine_close(engine);
}

TEST(engine_adopt, a_small_image_is_adopted_as_a_file_and_goes_into_the_catalog_later)
{
    const char *dir = ak_test_dir();
    struct ak_engine *engine = docs_engine(dir);
    CHECK_OK(adopt(engine, NULL, "new", stage(engine, 12, 1), 12));
    CHECK_INT(docs_files(dir), 1);
    engine = reopen(engine, dir);
    check_all_are(engine, "new", 12, 1);
    CHECK_OK(docs_put(engine, "new", 0, 2, 2));
    docs_checkpoint(engine, "new");
    CHECK_INT(docs_files(dir), 0);
    CHECK_INT(docs_version(engine, "new", 1), 2);
    ak_engine_close(engine);
}

TEST(engine_adopt, a_taken_name_or_id_is_refused_and_the_id_given_is_kept)
{
    const char *dir = ak_test_dir();
    struct ak_engine *engine = docs_engine(dir);
    struct ak_uuid id = docs_create(engine, "docs");
    CHECK_RC(AK_EXISTS, adopt(engine, NULL, "docs", stage(engine, 12, 1), 12));
    struct ak_collection_info info = docs_spec("other");
    struct ak_engine_adopt_options options = {.documents = 12};
    info.id = id;
    CHECK_RC(AK_EXISTS, ak_engine_adopt(engine, &info, stage(engine, 12, 1), &options, NULL, &err));
    info.id = doc_id(4711);
    CHECK_OK(ak_engine_adopt(engine, &info, stage(engine, 12, 1), &options, &info, &err));
    CHECK_INT(doc_number(&info.id), 4711);
    CHECK_INT(docs_files(dir), 1); /* what was refused is gone */
    ak_engine_close(engine);
}

TEST(engine_adopt, a_replaced_state_is_superseded_with_its_log_and_the_new_one_lives_on)
{
    const char *dir = ak_test_dir();
    struct ak_engine *engine = docs_engine(dir);
    struct ak_uuid id = docs_create(engine, "docs");
    CHECK_OK(docs_put(engine, "docs", 0, MANY + 100, 2));
    docs_checkpoint(engine, "docs");
    CHECK_OK(docs_put(engine, "docs", 0, 300, 3)); /* in the log only */
    CHECK_OK(adopt(engine, &id, "docs", stage(engine, MANY, 1), MANY));
    check_all_are(engine, "docs", MANY, 1);
    CHECK_INT(docs_files(dir), 1);
    CHECK_OK(docs_put(engine, "docs", 10, 10, 4));
    engine = reopen(engine, dir);
    CHECK_INT(docs_count(engine, "docs"), MANY);
    CHECK_INT(docs_version(engine, "docs", 15), 4);
    CHECK_INT(docs_version(engine, "docs", 9), 1);
    CHECK_OK(ak_engine_verify(engine, AK_STR("docs"), &err));
    /* Again, now over a closed collection. */
    engine = reopen(engine, dir);
    CHECK_OK(adopt(engine, &id, "docs", stage(engine, 40, 5), 40));
    check_all_are(engine, "docs", 40, 5);
    engine = reopen(engine, dir);
    check_all_are(engine, "docs", 40, 5);
    ak_engine_close(engine);
}

TEST(engine_adopt, references_to_the_old_state_read_on_and_do_not_write)
{
    struct ak_engine *engine = docs_engine(ak_test_dir());
    struct ak_uuid id = docs_create(engine, "docs");
    struct ak_collection *old = NULL;
    struct ak_hold *hold = NULL;
    struct ak_arena arena;
    struct ak_found found;
    struct ak_uuid doc = doc_id(3);
    struct ak_write write;
    uint64_t count = 0;
    CHECK_OK(docs_put(engine, "docs", 0, MANY, 2));
    CHECK_OK(ak_engine_get(engine, AK_STR("docs"), &old, &err));
    CHECK_OK(ak_engine_hold(engine, AK_STR("docs"), &hold, &err));
    CHECK_OK(adopt(engine, &id, "docs", stage(engine, 50, 1), 50));
    CHECK_OK(ak_collection_count(old, NULL, &count, &err));
    CHECK_INT(count, MANY);
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_collection_fetch(old, &doc, AK_INCLUDE_VECTOR, &arena, &found, &err));
    ak_arena_release(&arena);
    CHECK_RC(AK_NOT_FOUND, docs_put_ref(engine, old, 0, 1, 3));
    CHECK_RC(AK_NOT_FOUND, ak_collection_delete(old, &doc, 1, &write, &err));
    CHECK_OK(ak_engine_checkpoint(engine, old, &err)); /* there is nothing to keep */
    CHECK_INT(ak_hold_rows(hold), MANY);
    CHECK_INT(docs_count(engine, "docs"), 50);
    ak_hold_release(hold);
    ak_collection_unref(old);
    CHECK_OK(ak_engine_drop(engine, AK_STR("docs"), &err));
    ak_engine_close(engine);
}

TEST(engine_adopt, what_does_not_fit_or_is_missing_is_refused)
{
    struct ak_engine *engine = docs_engine(ak_test_dir());
    struct ak_uuid id = docs_create(engine, "docs");
    struct ak_uuid nobody = doc_id(9);
    struct ak_engine_adopt_options options = {.documents = 20};
    CHECK_OK(docs_put(engine, "docs", 0, 10, 2));
    CHECK_RC(AK_NOT_FOUND, adopt(engine, &nobody, "docs", stage(engine, 20, 1), 20));
    CHECK_RC(AK_CORRUPT, adopt(engine, &id, "docs", stage(engine, 20, 1), 21));
    CHECK_RC(AK_NOT_FOUND, adopt(engine, &id, "docs", "/nonexistent/staging", 20));
    struct ak_collection_info info = docs_spec("docs");
    info.dimension++;
    CHECK_RC(AK_CORRUPT,
             ak_engine_adopt(engine, &info, stage(engine, 20, 1), &options, NULL, &err));
    info = docs_spec("docs");
    info.name = AK_STR("a/b");
    CHECK_RC(AK_INVALID,
             ak_engine_adopt(engine, &info, stage(engine, 20, 1), &options, NULL, &err));
    info = docs_spec("thin");
    info.index.m = 8;
    struct ak_collection_info thin;
    CHECK_OK(ak_engine_create(engine, &info, &thin, &err));
    CHECK_RC(AK_INVALID, adopt(engine, &thin.id, "thin", stage(engine, 20, 1), 20));
    CHECK_INT(docs_version(engine, "docs", 5), 2);
    ak_engine_close(engine);
}

struct second_look {
    enum ak_rc rc;
    int asked;
};

static enum ak_rc confirm(void *ctx, struct ak_err *e)
{
    struct second_look *look = ctx;
    look->asked++;
    return look->rc == AK_OK ? AK_OK : ak_fail(e, look->rc, "another image than was meant");
}

TEST(engine_adopt, the_callers_word_is_asked_for_before_anything_changes)
{
    struct ak_engine *engine = docs_engine(ak_test_dir());
    struct ak_uuid id = docs_create(engine, "docs");
    struct second_look look = {.rc = AK_CORRUPT};
    struct ak_engine_adopt_options options = {
        .replace = true, .documents = 20, .confirm = confirm, .ctx = &look};
    struct ak_collection_info info = docs_spec("docs");
    uint64_t size = 0;
    info.id = id;
    CHECK_OK(docs_put(engine, "docs", 0, 10, 2));
    const char *path = stage(engine, 20, 1);
    CHECK_RC(AK_CORRUPT, ak_engine_adopt(engine, &info, path, &options, NULL, &err));
    CHECK(strstr(err.text, "another image than was meant") != NULL);
    CHECK_INT(look.asked, 1);
    CHECK_RC(AK_NOT_FOUND, ak_fs_stat(ak_fs_posix(), path, &size, &err));
    check_all_are(engine, "docs", 10, 2);
    options.documents = 21; /* what is not whole needs no second look */
    CHECK_RC(AK_CORRUPT,
             ak_engine_adopt(engine, &info, stage(engine, 20, 1), &options, NULL, &err));
    CHECK_INT(look.asked, 1);
    look.rc = AK_OK;
    options.documents = 20;
    CHECK_OK(ak_engine_adopt(engine, &info, stage(engine, 20, 1), &options, NULL, &err));
    CHECK_INT(look.asked, 2);
    check_all_are(engine, "docs", 20, 1);
    ak_engine_close(engine);
}

TEST(engine_adopt, a_flipped_byte_anywhere_is_refused_and_the_live_data_stay)
{
    const char *dir = ak_test_dir();
    struct ak_engine *engine = docs_engine(dir);
    struct ak_uuid id = docs_create(engine, "docs");
    struct ak_rand rand;
    ak_rand_seed(&rand, ak_test_seed());
    CHECK_OK(docs_put(engine, "docs", 0, 30, 2));
    struct ak_buf whole;
    ak_buf_init(&whole, 0);
    const char *path = stage(engine, 200, 1);
    CHECK_OK(ak_fs_read_all(ak_fs_posix(), path, 64 << 20, &whole, &err));
    for (int round = 0; round < 300; round++) {
        size_t at = round < 100 ? (size_t)round : (size_t)ak_rand_below(&rand, whole.len);
        char was = whole.p[at];
        whole.p[at] = (char)(was ^ (char)(1 << ak_rand_below(&rand, 8)));
        CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), path, ak_buf_str(&whole), &err));
        enum ak_rc rc = adopt(engine, &id, "docs", path, 200);
        CHECK(rc == AK_CORRUPT || rc == AK_UNSUPPORTED);
        whole.p[at] = was;
    }
    for (int round = 0; round < 40; round++) { /* and cut short */
        struct ak_str part = {whole.p, (size_t)ak_rand_below(&rand, whole.len)};
        CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), path, part, &err));
        CHECK_RC(AK_CORRUPT, adopt(engine, &id, "docs", path, 200));
    }
    check_all_are(engine, "docs", 30, 2);
    ak_buf_release(&whole);
    ak_engine_close(engine);
}

TEST(engine_adopt, a_job_moves_on_in_the_same_transaction_or_nothing_does)
{
    const char *dir = ak_test_dir();
    struct ak_engine *engine = docs_engine(dir);
    struct ak_uuid job_id = doc_id(70);
    struct ak_uuid unknown = doc_id(71);
    struct ak_catalog_job job = {.id = job_id, .kind = AK_STR("restore")};
    struct ak_collection_info info = docs_spec("new");
    struct ak_engine_adopt_options options = {.documents = 12, .job = &unknown, .job_step = 5};
    struct ak_arena arena;
    ak_arena_init(&arena, 0);
    CHECK_RC(AK_NOT_FOUND,
             ak_engine_adopt(engine, &info, stage(engine, 12, 1), &options, NULL, &err));
    CHECK_INT(ak_engine_collection_count(engine), 0);
    CHECK_OK(ak_catalog_job_put(ak_engine_catalog(engine), &job, NULL, NULL, &err));
    options.job = &job_id;
    CHECK_OK(ak_engine_adopt(engine, &info, stage(engine, 12, 1), &options, NULL, &err));
    CHECK_OK(ak_catalog_job_get(ak_engine_catalog(engine), &job_id, &arena, &job, &err));
    CHECK_INT(job.step, 5);
    ak_arena_release(&arena);
    ak_engine_close(engine);
}

TEST(engine_adopt, an_image_is_built_from_documents_and_refuses_an_id_twice)
{
    const char *dir = ak_test_dir();
    struct ak_engine *engine = docs_engine(dir);
    struct ak_collection_info info = docs_spec("built");
    struct ak_image_builder *builder = NULL;
    struct doc_texts texts;
    char path[2048];
    struct ak_uuid id = doc_id(1);
    uint64_t documents = 0;
    CHECK_OK(ak_image_builder_open(engine, &info, &builder, &err));
    for (unsigned n = 0; n < 4000; n++) {
        struct ak_document doc = doc_of(n, 1, &texts);
        doc.inserted_us = 1000 + n;
        CHECK_OK(ak_image_builder_add(builder, &doc, 1, &err));
    }
    struct ak_document again = doc_of(17, 2, &texts);
    CHECK_RC(AK_EXISTS, ak_image_builder_add(builder, &again, 1, &err));
    again.id = (struct ak_uuid){{0}};
    CHECK_RC(AK_INVALID, ak_image_builder_add(builder, &again, 1, &err));
    ak_engine_staging_path(engine, &id, path, sizeof path);
    CHECK_OK(ak_image_builder_commit(builder, path, NULL, NULL, &documents, &err));
    CHECK_INT(documents, 4000);
    CHECK_OK(adopt(engine, NULL, "built", path, 4000));
    check_all_are(engine, "built", 4000, 1);
    ak_engine_close(engine);
}

/* --- Writers during replacements --- */

struct writers {
    struct ak_engine *engine;
    _Atomic bool stop;
    _Atomic unsigned epoch;            /* replacements begun */
    _Atomic unsigned acked[4][256];    /* per thread and key: version acknowledged */
    _Atomic unsigned acked_in[4][256]; /* replacements that had ended when it was written */
    _Atomic unsigned ended;
    _Atomic unsigned refused;
};

struct writer {
    struct writers *all;
    unsigned number;
};

static void *write_by_name(void *arg)
{
    struct writer *writer = arg;
    struct writers *all = writer->all;
    for (unsigned i = 0; !atomic_load(&all->stop); i++) {
        struct ak_collection *collection = NULL;
        struct doc_texts texts;
        struct ak_write write;
        struct ak_err mine;
        unsigned key = i % 256;
        unsigned version = 1 + i / 256 % 8;
        unsigned ended = atomic_load(&all->ended);
        struct ak_document doc = doc_of(10000 + writer->number * 256 + key, version, &texts);
        if (ak_engine_get(all->engine, AK_STR("docs"), &collection, &mine) != AK_OK) {
            abort();
        }
        enum ak_rc rc = ak_collection_upsert(collection, &doc, 1, true, NULL, &write, &mine);
        rc = rc == AK_OK ? ak_engine_commit(all->engine, write.commit, &mine) : rc;
        ak_collection_unref(collection);
        if (rc == AK_OK) {
            atomic_store(&all->acked[writer->number][key], version);
            atomic_store(&all->acked_in[writer->number][key], ended);
        } else if (rc == AK_NOT_FOUND) {
            atomic_fetch_add(&all->refused, 1);
        } else {
            abort();
        }
    }
    return NULL;
}

TEST(engine_adopt, no_write_acknowledged_after_the_swap_is_lost_under_four_writers)
{
    static struct writers all;
    const char *dir = ak_test_dir();
    struct writer writers[4];
    pthread_t threads[4];
    struct ak_engine *engine = docs_engine(dir);
    struct ak_uuid id = docs_create(engine, "docs");
    CHECK_OK(docs_put(engine, "docs", 0, 100, 1));
    all.engine = engine;
    for (unsigned t = 0; t < 4; t++) {
        writers[t] = (struct writer){&all, t};
        CHECK_INT(pthread_create(&threads[t], NULL, write_by_name, &writers[t]), 0);
    }
    for (unsigned round = 0; round < 12; round++) {
        CHECK_OK(adopt(engine, &id, "docs", stage(engine, 400, 1 + round % 8), 400));
        atomic_fetch_add(&all.ended, 1);
        if (round % 4 == 3) {
            docs_checkpoint(engine, "docs");
        }
    }
    atomic_store(&all.stop, true);
    for (unsigned t = 0; t < 4; t++) {
        (void)pthread_join(threads[t], NULL);
    }
    for (int pass = 0; pass < 2; pass++) {
        for (unsigned t = 0; t < 4; t++) {
            for (unsigned key = 0; key < 256; key++) {
                unsigned got = docs_version(engine, "docs", 10000 + t * 256 + key);
                bool is_after = all.acked[t][key] && all.acked_in[t][key] == all.ended;
                CHECK(got == 0 || got == all.acked[t][key]);
                CHECK(!is_after || got == all.acked[t][key]);
            }
        }
        for (unsigned n = 0; n < 400; n += 3) {
            CHECK_INT(docs_version(engine, "docs", n), 1 + 11 % 8);
        }
        CHECK_OK(ak_engine_verify(engine, AK_STR("docs"), &err));
        engine = reopen(engine, dir);
    }
    ak_engine_close(engine);
}

/* --- Faults --- */

struct outcome {
    enum ak_rc rc;
    bool fired;
    bool wrote; /* acknowledged after the adoption */
};

/* Replace with the nth failure; then write one document. */
static struct outcome replace_failing(const char *dir, const char *image, struct ak_uuid *id,
                                      unsigned ops, int nth, int errnum)
{
    struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
    struct ak_engine *engine = docs_engine_on(ak_fs_fault_fs(fault), dir);
    struct ak_uuid staging = doc_id(1);
    struct ak_buf bytes;
    char path[2048];
    struct outcome outcome = {0};
    *id = docs_create(engine, "docs");
    CHECK_OK(docs_put(engine, "docs", 0, MANY, 2));
    docs_checkpoint(engine, "docs");
    CHECK_OK(docs_put(engine, "docs", 0, 100, 3));
    ak_engine_staging_path(engine, &staging, path, sizeof path);
    ak_buf_init(&bytes, 0);
    CHECK_OK(ak_fs_read_all(ak_fs_posix(), image, 64 << 20, &bytes, &err));
    CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), path, ak_buf_str(&bytes), &err));
    ak_buf_release(&bytes);
    if (ops) {
        ak_fs_fault_set(fault, ops, nth, errnum, false);
    } else {
        ak_fault_alloc_at(nth);
    }
    outcome.rc = adopt(engine, id, "docs", path, MANY);
    outcome.fired = ops ? ak_fs_fault_fired(fault) : ak_fault_alloc_fired();
    ak_fs_fault_set(fault, 0, -1, 0, false);
    ak_fault_alloc_at(-1);
    CHECK(outcome.rc == AK_OK || err.text[0]);
    outcome.wrote = docs_put(engine, "docs", 5, 1, 4) == AK_OK;
    ak_engine_close(engine);
    ak_fs_fault_close(fault);
    return outcome;
}

static void check_outcome(const char *dir, const struct outcome *outcome)
{
    struct ak_engine *engine = docs_engine(dir);
    unsigned version = docs_version(engine, "docs", 700);
    bool is_new = version == 1;
    CHECK(version == 1 || version == 2);
    CHECK(outcome->rc != AK_OK || is_new);
    CHECK_INT(docs_count(engine, "docs"), MANY);
    CHECK_INT(docs_version(engine, "docs", 6), is_new ? 1 : 3);
    if (outcome->wrote) {
        CHECK_INT(docs_version(engine, "docs", 5), 4);
    }
    CHECK_OK(ak_engine_verify(engine, AK_STR("docs"), &err));
    CHECK_INT(docs_files(dir), 1);
    ak_engine_close(engine);
}

static void fail_everywhere(unsigned ops, int errnum)
{
    char image[2048];
    struct ak_engine *engine = docs_engine(ak_test_dir());
    (void)snprintf(image, sizeof image, "%s/image", ak_test_dir());
    CHECK_OK(ak_fs_rename(ak_fs_posix(), stage(engine, MANY, 1), image, &err));
    ak_engine_close(engine);
    bool fired = true;
    int nth = 0;
    for (; fired; nth += 1 + (nth > 40 ? nth / 6 : 0)) { /* each of the first, then samples */
        char dir[2048];
        struct ak_uuid id;
        (void)snprintf(dir, sizeof dir, "%s/n%d", ak_test_dir(), nth);
        struct outcome outcome = replace_failing(dir, image, &id, ops, nth, errnum);
        check_outcome(dir, &outcome);
        fired = outcome.fired;
    }
    CHECK(nth > 2);
}

TEST(engine_adopt, the_nth_allocation_fails_and_one_state_or_the_other_is_there)
{
    fail_everywhere(0, 0);
}

TEST(engine_adopt, the_nth_write_fails_and_one_state_or_the_other_is_there)
{
    fail_everywhere(AK_FS_WRITE | AK_FS_RENAME | AK_FS_OPEN | AK_FS_REMOVE, EIO);
}

TEST(engine_adopt, the_nth_sync_fails_and_no_write_is_acknowledged_that_could_be_lost)
{
    fail_everywhere(AK_FS_SYNC | AK_FS_SYNC_DIR, EIO);
}

TEST(engine_adopt, a_full_disk_leaves_the_old_state)
{
    fail_everywhere(AK_FS_WRITE | AK_FS_ALLOCATE, ENOSPC);
}

/* --- Crash points and power cuts --- */

TEST(engine_adopt, a_crash_at_each_point_leaves_one_state_or_the_other_and_no_garbage)
{
    static const struct {
        const char *point;
        bool is_new;
    } points[] = {{"adopt_before_rename", false},
                  {"adopt_before_commit", false},
                  {"adopt_after_commit", true},
                  {"adopt_after_remove", true}};
    for (unsigned i = 0; i < 8; i++) {
        bool replaces = i % 2;
        char dir[1024];
        int status = 0;
        (void)snprintf(dir, sizeof dir, "%s/crash-%u", ak_test_dir(), i);
        struct ak_engine *engine = docs_engine(dir);
        struct ak_uuid id = docs_create(engine, "docs");
        CHECK_OK(docs_put(engine, "docs", 0, MANY, 2));
        ak_engine_close(engine);
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            engine = docs_engine(dir);
            number = 100 * (i + 1); /* the parent does not count along */
            const char *path = stage(engine, MANY, 1);
            (void)docs_put(engine, "docs", 0, 10, 3);
            (void)setenv("AKIDB_CRASH_AT", points[i / 2].point, 1);
            (void)adopt(engine, replaces ? &id : NULL, replaces ? "docs" : "new", path, MANY);
            _exit(0);
        }
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 137);
        engine = docs_engine(dir);
        bool is_new = points[i / 2].is_new;
        CHECK_INT(ak_engine_collection_count(engine), !replaces && is_new ? 2 : 1);
        CHECK_INT(docs_version(engine, "docs", 5), replaces && is_new ? 1 : 3);
        CHECK_INT(docs_version(engine, "docs", 50), replaces && is_new ? 1 : 2);
        if (!replaces && is_new) {
            check_all_are(engine, "new", MANY, 1);
        }
        CHECK_INT(docs_files(dir), ak_engine_collection_count(engine));
        CHECK_OK(ak_engine_verify(engine, AK_STR("docs"), &err));
        ak_engine_close(engine);
    }
}

TEST(engine_adopt, every_power_cut_leaves_one_state_or_the_other_and_what_was_acknowledged_in_it)
{
    char dir[700];
    char out[700];
    struct ak_rand rand;
    ak_rand_seed(&rand, ak_test_seed());
    (void)snprintf(dir, sizeof dir, "%s/db", ak_test_dir());
    (void)snprintf(out, sizeof out, "%s/image", ak_test_dir());
    CHECK_OK(ak_fs_make_dirs(ak_fs_posix(), dir, &err));
    struct powercut *cut = powercut_open(quickfs(), dir);
    struct ak_engine *engine = docs_engine_on(powercut_fs(cut), dir);
    struct ak_uuid id = docs_create(engine, "docs");
    CHECK_OK(docs_put(engine, "docs", 0, 300, 2));
    docs_checkpoint(engine, "docs");
    CHECK_OK(docs_put(engine, "docs", 0, 20, 3));
    const char *path = stage(engine, 300, 1);
    size_t begun = powercut_ops(cut);
    CHECK_OK(adopt(engine, &id, "docs", path, 300));
    size_t adopted = powercut_ops(cut);
    CHECK_OK(docs_put(engine, "docs", 5, 1, 4));
    size_t written = powercut_ops(cut);
    ak_engine_close(engine);
    size_t ops = powercut_ops(cut);
    static const enum powercut_mode modes[] = {POWERCUT_RANDOM, POWERCUT_MIXED, POWERCUT_ALL,
                                               POWERCUT_NONE};
    for (size_t at = begun; at <= ops; at++) {
        for (int mode = 0; mode < 4; mode++) {
            powercut_image(cut, at, modes[mode], &rand, out);
            engine = docs_engine(out);
            unsigned version = docs_version(engine, "docs", 100);
            CHECK(version == 1 || (version == 2 && at < adopted));
            unsigned five = docs_version(engine, "docs", 5);
            if (version == 2) {
                CHECK_INT(five, 3);
            } else {
                CHECK(five == 4 || (five == 1 && at < written));
            }
            CHECK_INT(docs_count(engine, "docs"), 300);
            CHECK_OK(docs_put(engine, "docs", 7, 1, 6));
            CHECK_OK(ak_engine_verify(engine, AK_STR("docs"), &err));
            engine = reopen(engine, out);
            CHECK_INT(docs_version(engine, "docs", 7), 6);
            ak_engine_close(engine);
        }
    }
    powercut_close(cut);
}

TEST_MAIN()
