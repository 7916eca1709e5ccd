/* parquet_read_test.c — what a file says and holds comes out, whatever its pages look like. */
#include "base/sync.h"
#include "support/parquet_files.h"

static const char *const same_rows[] = {"plain",    "split_zstd", "small_pages", "pages_v2",
                                        "no_index", "groups",     "dictionary",  "no_checksum"};
#define SAME (sizeof same_rows / sizeof same_rows[0])

static struct ak_parquet_reader *open_bytes(const struct ak_buf *bytes, struct ak_str *view)
{
    struct ak_err err;
    struct ak_parquet_reader *reader = NULL;
    *view = ak_buf_str(bytes);
    struct ak_parquet_source source = ak_parquet_source_memory(view, "memory");
    CHECK_OK(ak_parquet_open(&source, NULL, &reader, &err));
    return reader;
}

static float vector_at(uint64_t row, uint32_t d)
{
    return (float)row + (float)d / 8;
}

/* Rows [first, first + rows) of group `g` as the corpus has them; `base`: the group's first row. */
static void check_rows(const struct ak_parquet_reader *reader, size_t g, uint64_t first,
                       uint64_t rows, size_t step)
{
    struct ak_err err;
    uint64_t base = ak_parquet_describe(reader)->groups[g].first_row;
    for (size_t leaf = 0; leaf < 3; leaf++) {
        struct ak_parquet_cursor *cursor = NULL;
        struct ak_parquet_batch batch;
        uint64_t seen = 0;
        CHECK_OK(ak_parquet_cursor_open(reader, g, leaf, first, rows, &cursor, &err));
        do {
            CHECK_OK(ak_parquet_next(cursor, step, &batch, &err));
            CHECK(batch.rows == 0 || batch.first_row == first + seen);
            for (size_t i = 0; i < batch.rows; i++) {
                uint64_t row = base + first + seen + i;
                uint32_t at = batch.value_at[i];
                uint32_t n = batch.value_at[i + 1] - at;
                char id[16];
                (void)snprintf(id, sizeof id, "row %04llu", (unsigned long long)row);
                if (leaf == 0) {
                    CHECK(n == 1 && ak_str_eq(batch.bytes[at], ak_str_of(id)));
                } else if (leaf == 1 && row % 5 == 0) {
                    CHECK_INT(n, 0);
                } else if (leaf == 1) {
                    CHECK(n == 1 && batch.i64[at] == (int64_t)row * 1000);
                } else {
                    CHECK_INT(n, CORPUS_DIM);
                    for (uint32_t d = 0; d < n; d++) {
                        CHECK(batch.f32[at + d] == vector_at(row, d));
                    }
                }
            }
            seen += batch.rows;
        } while (batch.rows > 0);
        CHECK_INT(seen, rows);
        ak_parquet_cursor_close(cursor);
    }
}

TEST(parquet, rows_are_the_same_whatever_the_pages)
{
    for (size_t f = 0; f < SAME; f++) {
        struct ak_buf bytes = parquet_corpus(same_rows[f]);
        struct ak_str view;
        struct ak_parquet_reader *reader = open_bytes(&bytes, &view);
        const struct ak_parquet_description *about = ak_parquet_describe(reader);
        CHECK_INT(about->rows, CORPUS_ROWS);
        for (size_t g = 0; g < about->group_count; g++) {
            uint64_t rows = about->groups[g].rows;
            check_rows(reader, g, 0, rows, 0);
            check_rows(reader, g, 0, rows, 3);
        }
        ak_parquet_close(reader);
        ak_buf_release(&bytes);
    }
}

TEST(parquet, any_range_of_rows_can_be_read)
{
    for (size_t f = 0; f < SAME; f++) {
        struct ak_buf bytes = parquet_corpus(same_rows[f]);
        struct ak_str view;
        struct ak_parquet_reader *reader = open_bytes(&bytes, &view);
        uint64_t rows = ak_parquet_describe(reader)->groups[0].rows;
        for (uint64_t first = 0; first <= rows; first++) {
            for (uint64_t n = 0; n <= rows - first; n += 1 + n / 3) {
                check_rows(reader, 0, first, n, 0);
            }
        }
        ak_parquet_close(reader);
        ak_buf_release(&bytes);
    }
}

TEST(parquet, vectors_land_in_place)
{
    struct ak_err err;
    for (size_t f = 0; f < SAME; f++) {
        struct ak_buf bytes = parquet_corpus(same_rows[f]);
        struct ak_str view;
        struct ak_parquet_reader *reader = open_bytes(&bytes, &view);
        const struct ak_parquet_group *group = &ak_parquet_describe(reader)->groups[0];
        int leaf = ak_parquet_find_leaf(reader, AK_STR("vector"));
        CHECK_INT(leaf, 2);
        for (uint64_t first = 0; first < group->rows; first += 3) {
            for (uint64_t n = 0; n <= group->rows - first; n += 4) {
                float *dst = ak_alloc(n * CORPUS_DIM * sizeof *dst); /* exactly: ASan sees more */
                CHECK_OK(ak_parquet_read_vectors(reader, 0, (size_t)leaf, first, n, CORPUS_DIM, dst,
                                                 &err));
                for (uint64_t i = 0; i < n * CORPUS_DIM; i++) {
                    CHECK(dst[i] == vector_at(first + i / CORPUS_DIM, (uint32_t)(i % CORPUS_DIM)));
                }
                ak_free(dst);
            }
        }
        float few[CORPUS_DIM * CORPUS_ROWS];
        CHECK_RC(AK_INVALID,
                 ak_parquet_read_vectors(reader, 0, (size_t)leaf, 1, 2, CORPUS_DIM - 1, few, &err));
        CHECK(strstr(err.text, "row 1 of column 'vector' has 6 numbers instead of 5"));
        CHECK_RC(AK_INVALID, ak_parquet_read_vectors(reader, 0, 0, 0, 1, 1, few, &err));
        CHECK_RC(AK_INVALID, ak_parquet_read_vectors(reader, 0, (size_t)leaf, 1, group->rows,
                                                     CORPUS_DIM, few, &err));
        CHECK_RC(AK_INVALID,
                 ak_parquet_read_vectors(reader, 9, (size_t)leaf, 0, 1, CORPUS_DIM, few, &err));
        ak_parquet_close(reader);
        ak_buf_release(&bytes);
    }
}

TEST(parquet, deltas_and_splits_give_their_values)
{
    static const char *const files[] = {"deltas_v1", "deltas_v2"};
    for (size_t f = 0; f < 2; f++) {
        struct ak_err err;
        struct ak_buf bytes = parquet_corpus(files[f]);
        struct ak_str view;
        struct ak_parquet_reader *reader = open_bytes(&bytes, &view);
        const struct ak_parquet_group *group = &ak_parquet_describe(reader)->groups[0];
        CHECK(group->chunks[0].encodings >> AK_PARQUET_DELTA_BINARY_PACKED & 1);
        CHECK(group->chunks[2].encodings >> AK_PARQUET_DELTA_BYTE_ARRAY & 1);
        for (size_t leaf = 0; leaf < 7; leaf++) {
            struct ak_parquet_cursor *cursor = NULL;
            struct ak_parquet_batch b;
            CHECK_OK(ak_parquet_cursor_open(reader, 0, leaf, 0, CORPUS_ROWS, &cursor, &err));
            CHECK_OK(ak_parquet_next(cursor, 0, &b, &err));
            CHECK_INT(b.rows, CORPUS_ROWS);
            for (int i = 0; i < (int)CORPUS_ROWS; i++) {
                uint32_t at = b.value_at[i];
                char text[64];
                (void)snprintf(text, sizeof text, "common prefix %d tail %d", i / 3, i);
                switch (leaf) {
                case 0:
                    CHECK_INT(b.i32[at], i * i - 200);
                    break;
                case 1:
                    CHECK_INT(b.i64[at], (i % 2 ? -1 : 1) * ((int64_t)i << 40));
                    break;
                case 2:
                    CHECK(ak_str_eq(b.bytes[at], ak_str_of(text)));
                    break;
                case 3:
                    CHECK_INT(b.bytes[at].len, i % 7);
                    break;
                case 4:
                    CHECK_INT(b.bools[at], i % 3 == 0);
                    break;
                case 5:
                    CHECK_INT(b.value_at[i + 1] - at, i % 4 != 1);
                    CHECK(i % 4 == 1 || b.f64[at] == (double)i / 3);
                    break;
                default:
                    CHECK(b.bytes[at].len == 5 && b.bytes[at].p[0] == i && b.bytes[at].p[4] == i);
                }
            }
            ak_parquet_cursor_close(cursor);
        }
        ak_parquet_close(reader);
        ak_buf_release(&bytes);
    }
}

TEST(parquet, the_description_says_what_is_there)
{
    struct ak_err err;
    struct ak_buf bytes = parquet_corpus("groups");
    struct ak_str view;
    struct ak_str value;
    struct ak_parquet_reader *reader = open_bytes(&bytes, &view);
    const struct ak_parquet_description *about = ak_parquet_describe(reader);
    CHECK_INT(about->group_count, 3);
    CHECK_INT(about->leaf_count, 3);
    CHECK_INT(about->groups[2].first_row, 30);
    CHECK_INT(about->groups[2].rows, 10);
    CHECK(ak_str_has_prefix(about->created_by, AK_STR("parquet-cpp-arrow")));
    const struct ak_parquet_leaf *vector = &about->leaves[2];
    CHECK(ak_str_eq(vector->path, AK_STR("vector.list.element")) && vector->is_list);
    CHECK(vector->type == AK_PARQUET_FLOAT && vector->max_def == 1 && vector->max_rep == 1);
    CHECK(!vector->is_optional && vector->list_def[1] == 1);
    CHECK(about->leaves[0].meaning.annotation == AK_PARQUET_STRING);
    const struct ak_parquet_chunk *n = &about->groups[0].chunks[1];
    CHECK(n->codec == AK_CODEC_LZ4 && n->values == 15 && n->statistics.has_nulls);
    CHECK_INT(n->statistics.null_count, 3);
    int64_t most;
    CHECK(n->statistics.has_bounds && n->statistics.max.len == 8);
    memcpy(&most, n->statistics.max.p, 8);
    CHECK_INT(most, 14000);
    CHECK(!ak_parquet_find_metadata(reader, AK_STR("ARROW:schema"), &value));
    CHECK_INT(ak_parquet_find_leaf(reader, AK_STR("nothing")), -1);
    struct ak_parquet_report report;
    CHECK_OK(ak_parquet_verify(reader, &report, &err));
    CHECK(report.pages == 9 && report.pages_with_crc == 9);
    CHECK_INT(report.values, CORPUS_ROWS + 32 + CORPUS_ROWS * CORPUS_DIM);
    ak_parquet_close(reader);
    ak_buf_release(&bytes);
}

TEST(parquet, the_page_index_is_read)
{
    struct ak_err err;
    struct ak_arena arena;
    struct ak_parquet_pages pages;
    struct ak_str view;
    struct ak_buf bytes = parquet_corpus("small_pages");
    struct ak_parquet_reader *reader = open_bytes(&bytes, &view);
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_parquet_read_pages(reader, 0, 1, &arena, &pages, &err));
    CHECK(pages.count > 3 && pages.has_column_index);
    for (size_t i = 0; i < pages.count; i++) {
        int64_t least;
        CHECK(pages.pages[i].has_bounds && pages.pages[i].min.len == 8);
        memcpy(&least, pages.pages[i].min.p, 8);
        uint64_t row = pages.pages[i].first_row;
        CHECK_INT(least, (int64_t)(row % 5 == 0 ? row + 1 : row) * 1000);
    }
    CHECK_RC(AK_INVALID, ak_parquet_read_pages(reader, 0, 3, &arena, &pages, &err));
    ak_parquet_close(reader);
    ak_buf_release(&bytes);
    bytes = parquet_corpus("no_index");
    reader = open_bytes(&bytes, &view);
    CHECK_RC(AK_NOT_FOUND, ak_parquet_read_pages(reader, 0, 1, &arena, &pages, &err));
    ak_arena_release(&arena);
    ak_parquet_close(reader);
    ak_buf_release(&bytes);
}

TEST(parquet, nulls_and_empty_lists_are_told_apart)
{
    struct ak_err err;
    struct ak_str view;
    struct ak_buf bytes = parquet_corpus("nested");
    struct ak_parquet_reader *reader = open_bytes(&bytes, &view);
    struct ak_parquet_cursor *cursor = NULL;
    struct ak_parquet_batch b;
    const struct ak_parquet_leaf *leaf = &ak_parquet_describe(reader)->leaves[0];
    CHECK(leaf->is_list && leaf->max_def == 3 && leaf->list_def[1] == 2);
    CHECK_OK(ak_parquet_cursor_open(reader, 0, 0, 0, CORPUS_ROWS, &cursor, &err));
    size_t row = 0;
    for (;;) {
        CHECK_OK(ak_parquet_next(cursor, 1, &b, &err));
        if (b.rows == 0) {
            break;
        }
        if (row % 4 == 0) {
            CHECK(b.slots == 1 && b.def[0] == 0);
        } else if (row % 3 == 0) {
            CHECK(b.slots == 1 && b.def[0] == 1);
        } else {
            CHECK(b.slots == row % 3 && b.def[0] == 3 && b.values == 1);
            CHECK(b.slots == 1 || b.def[1] == 2);
        }
        row++;
    }
    CHECK_INT(row, CORPUS_ROWS);
    ak_parquet_cursor_close(cursor);
    ak_parquet_close(reader);
    ak_buf_release(&bytes);
}

/* --- From several threads --- */

struct worker {
    const struct ak_parquet_reader *reader;
    size_t group;
    enum ak_rc rc;
    float vectors[CORPUS_ROWS * CORPUS_DIM];
    uint64_t values;
};

static void work(void *arg)
{
    struct worker *w = arg;
    struct ak_parquet_cursor *cursor = NULL;
    struct ak_parquet_batch batch;
    uint64_t rows = ak_parquet_describe(w->reader)->groups[w->group].rows;
    for (int round = 0; round < 50 && w->rc == AK_OK; round++) {
        w->rc =
            ak_parquet_read_vectors(w->reader, w->group, 2, 0, rows, CORPUS_DIM, w->vectors, NULL);
        if (w->rc == AK_OK) {
            w->rc = ak_parquet_cursor_open(w->reader, w->group, 0, 1, rows - 1, &cursor, NULL);
        }
        if (w->rc == AK_OK) {
            w->rc = ak_parquet_next(cursor, 0, &batch, NULL);
            w->values += w->rc == AK_OK ? batch.values : 0;
            ak_parquet_cursor_close(cursor);
        }
    }
}

TEST(parquet, threads_share_a_reader)
{
    struct ak_err err;
    struct ak_str view;
    struct ak_buf bytes = parquet_corpus("groups");
    struct ak_parquet_reader *reader = open_bytes(&bytes, &view);
    struct ak_thread threads[4] = {0};
    static struct worker workers[4];
    for (size_t i = 0; i < 4; i++) {
        workers[i] = (struct worker){.reader = reader, .group = i % 3};
        CHECK_OK(ak_thread_start(&threads[i], "parquet", work, &workers[i], &err));
    }
    for (size_t i = 0; i < 4; i++) {
        ak_thread_join(&threads[i]);
        const struct ak_parquet_group *group = &ak_parquet_describe(reader)->groups[i % 3];
        CHECK_INT(workers[i].rc, AK_OK);
        CHECK(workers[i].vectors[1] == vector_at(group->first_row, 1));
        CHECK_INT(workers[i].values, 50 * (group->rows - 1));
    }
    ak_parquet_close(reader);
    ak_buf_release(&bytes);
}

/* --- What is fetched --- */

TEST(parquet, opening_is_one_read_and_a_range_fetches_its_pages_only)
{
    struct ak_err err;
    struct counting c;
    struct ak_buf bytes = parquet_corpus("small_pages");
    struct ak_parquet_source source = counting_source(&c, &bytes);
    struct ak_parquet_reader *reader = NULL;
    struct ak_parquet_read_options options = {.tail_bytes = 1500};
    struct ak_arena arena;
    struct ak_parquet_pages pages;
    CHECK_OK(ak_parquet_open(&source, &options, &reader, &err));
    CHECK_INT(c.reads, 1);
    CHECK(c.at[0] == bytes.len - 1500 && c.len[0] == 1500);
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_parquet_read_pages(reader, 0, 2, &arena, &pages, &err));
    size_t wanted = pages.count / 2;
    float one[CORPUS_DIM];
    uint64_t row = pages.pages[wanted].first_row;
    c.reads = c.total = 0;
    CHECK_OK(ak_parquet_read_vectors(reader, 0, 2, row, 1, CORPUS_DIM, one, &err));
    CHECK(one[1] == vector_at(row, 1));
    CHECK_INT(c.reads, 2); /* the OffsetIndex, and the one page */
    CHECK(c.at[c.reads - 1] == pages.pages[wanted].at);
    CHECK_INT(c.len[c.reads - 1], pages.pages[wanted].len);
    ak_arena_release(&arena);
    ak_parquet_close(reader);
    ak_buf_release(&bytes);
}

TEST(parquet, a_footer_longer_than_the_first_read_takes_one_more)
{
    struct ak_err err;
    struct counting c;
    struct ak_buf bytes = parquet_corpus("plain");
    struct ak_parquet_source source = counting_source(&c, &bytes);
    struct ak_parquet_reader *reader = NULL;
    struct ak_parquet_read_options options = {.tail_bytes = 100};
    CHECK_OK(ak_parquet_open(&source, &options, &reader, &err));
    CHECK_INT(c.reads, 2);
    CHECK_INT(c.total, 8 + ak_parquet_describe(reader)->footer_len);
    ak_parquet_close(reader);
    ak_buf_release(&bytes);
}

TEST(parquet, a_chunk_is_read_once_in_steps_of_read_ahead)
{
    struct ak_err err;
    struct counting c;
    struct ak_buf bytes = parquet_corpus("plain");
    struct ak_parquet_source source = counting_source(&c, &bytes);
    struct ak_parquet_reader *reader = NULL;
    float all[CORPUS_ROWS * CORPUS_DIM];
    for (size_t ahead = 0; ahead <= 300; ahead += 100) {
        struct ak_parquet_read_options options = {.read_ahead = ahead};
        CHECK_OK(ak_parquet_open(&source, &options, &reader, &err));
        c.reads = c.total = 0;
        CHECK_OK(ak_parquet_read_vectors(reader, 0, 2, 0, CORPUS_ROWS, CORPUS_DIM, all, &err));
        CHECK_INT(c.total, ak_parquet_describe(reader)->groups[0].chunks[2].compressed);
        CHECK(ahead > 0 || c.reads == 1);
        ak_parquet_close(reader);
    }
    ak_buf_release(&bytes);
}

TEST_MAIN()
