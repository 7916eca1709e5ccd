/* Snapshots of every version ever released open for ever: tests/golden/snapshot-v1 is what this
 * version wrote, tests/golden/snapshot-v0 a JSON snapshot from before the field `format`.
 *
 * AKIDB_GOLDEN_WRITE=folder writes the files of the present version there, for a new version. */
#include "unit/snapshot_world.h"

#define GOLDEN "tests/golden/snapshot-v"
#define GOLDEN_COUNT 25
#define GOLDEN_DIMENSION 7

/* Copy the files of a golden folder into a store: it must not be written to. */
static bool add_name(void *ctx, struct ak_str name)
{
    struct ak_buf *names = ctx;
    ak_buf_add_str(names, name);
    ak_buf_add_char(names, '\n');
    return true;
}

static void load(struct world *w, const char *version)
{
    char folder[256];
    char path[600];
    struct ak_buf names;
    struct ak_str line;
    (void)snprintf(folder, sizeof folder, GOLDEN "%s", version);
    ak_buf_init(&names, 0);
    CHECK_OK(ak_fs_list(ak_fs_posix(), folder, add_name, &names, &err));
    for (struct ak_str rest = ak_buf_str(&names); rest.len;) {
        struct ak_buf bytes;
        char key[600];
        (void)ak_str_split(rest, '\n', &line, &rest);
        (void)snprintf(path, sizeof path, "%s/%.*s", folder, AK_STR_ARG(line));
        (void)snprintf(key, sizeof key, "snapshots/01980000-0000-7000-8000-00000000004d/%.*s",
                       AK_STR_ARG(line));
        ak_buf_init(&bytes, 0);
        CHECK_OK(ak_fs_read_all(ak_fs_posix(), path, 1u << 20, &bytes, &err));
        CHECK_OK(ak_objstore_put(w->store, ak_str_of(key), ak_buf_str(&bytes), NULL, &err));
        ak_buf_release(&bytes);
    }
    ak_buf_release(&names);
}

static const struct {
    unsigned id;
    struct ak_snapshot_options options;
} kinds[] = {
    {1, {.compression = AK_CODEC_ZSTD, .row_group_rows = 10}},
    {2, {.compression = AK_CODEC_SNAPPY, .encoding = AK_SNAPSHOT_PLAIN, .no_image = true}},
    {3, {.compression = AK_CODEC_LZ4, .encoding = AK_SNAPSHOT_BF16}},
    {4, {.compression = AK_CODEC_GZIP, .encoding = AK_SNAPSHOT_Q8, .no_image = true}},
    {5, {.format = AK_SNAPSHOT_JSON}},
};
#define KINDS (sizeof kinds / sizeof kinds[0])

static void write_golden(struct world *w, const char *to)
{
    struct ak_arena arena;
    struct ak_object *objects = NULL;
    size_t count = 0;
    struct ak_snapshot_meta meta;
    for (size_t i = 0; i < KINDS; i++) {
        CHECK_OK(take(w, kinds[i].id, &kinds[i].options, &meta));
    }
    ak_arena_init(&arena, 0);
    CHECK_OK(
        ak_objstore_list(w->store, AK_STR_NONE, AK_STR_NONE, 1000, &arena, &objects, &count, &err));
    for (size_t i = 0; i < count; i++) {
        char path[600];
        struct ak_buf bytes;
        (void)snprintf(path, sizeof path, "%s/%s", to, strrchr(objects[i].key.p, '/') + 1);
        ak_buf_init(&bytes, 0);
        CHECK_OK(ak_objstore_get(w->store, objects[i].key, &bytes, &err));
        CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), path, ak_buf_str(&bytes), &err));
        ak_buf_release(&bytes);
    }
    ak_arena_release(&arena);
}

/* Numbers that no library's logarithm has a part in. */
static void open_golden(struct world *w, size_t count)
{
    world_open(w, GOLDEN_DIMENSION, count, true);
    for (size_t i = 0; i < count * GOLDEN_DIMENSION; i++) {
        w->vectors[i] = (float)((int)(i * 7919 % 20011) - 10005) / 65536.0f;
    }
}

TEST(snapshot, version_1_opens_for_ever)
{
    struct world w;
    struct ak_snapshot_meta *list = NULL;
    struct ak_snapshot_report report;
    size_t count = 0;
    open_golden(&w, GOLDEN_COUNT);
    world_image_blob(&w);
    const char *to = getenv("AKIDB_GOLDEN_WRITE");
    if (to) {
        write_golden(&w, to);
    } else {
        load(&w, "1");
    }
    CHECK_OK(ak_snapshot_list(w.store, &w.info.id, &w.strings, &list, &count, NULL, &err));
    CHECK_INT(count, KINDS);
    for (size_t i = 0; i < count; i++) {
        const struct ak_snapshot_meta *meta = &list[KINDS - 1 - i];
        struct compare compare = {.w = &w, .is_lossy = !meta->lossless};
        CHECK_INT(meta->encoding, kinds[i].options.encoding);
        CHECK_INT(meta->compression,
                  meta->format == AK_SNAPSHOT_JSON ? AK_CODEC_NONE : kinds[i].options.compression);
        CHECK_OK(ak_snapshot_verify(w.store, meta, NULL, NULL, &report, &err));
        CHECK_OK(ak_snapshot_read(w.store, meta, compare_rows, &compare, &err));
        CHECK_INT(compare.at, GOLDEN_COUNT);
        CHECK(compare.max_error == meta->max_error);
    }
    world_close(&w);
}

TEST(snapshot, json_of_before_the_field_format_opens_for_ever)
{
    struct world w;
    struct ak_snapshot_meta *list = NULL;
    size_t count = 0;
    open_golden(&w, 5);
    load(&w, "0");
    CHECK_OK(ak_snapshot_list(w.store, &w.info.id, &w.strings, &list, &count, NULL, &err));
    CHECK_INT(count, 1);
    CHECK_INT(list[0].format, AK_SNAPSHOT_JSON);
    check_same(&w, &list[0]);
    struct ak_snapshot_report report;
    CHECK_OK(ak_snapshot_verify(w.store, &list[0], NULL, NULL, &report, &err));
    CHECK_INT(report.rows, 5);
    world_close(&w);
}

TEST_MAIN()
