/* snapshot_world.h — what the snapshot tests share: documents in memory, an image of them, options,
 * a store, and comparison to the last bit. Include once a program. */
#pragma once
#include "base/fault.h"
#include "base/mem.h"
#include "base/rand.h"
#include "index/image.h"
#include "snapshot/snapshot.h"
#include "support/test.h"
#include <stdlib.h>

#define AT_US 1790000000123456 /* of every snapshot unless said otherwise */

struct world {
    struct ak_collection_info info;
    uint32_t dimension;
    size_t count;
    struct ak_document *docs;
    float *vectors;
    struct ak_arena strings;
    struct ak_snapshot_source source;
    struct ak_objstore *store;
    struct ak_buf image; /* the bytes of the image blob */
};

static struct ak_err err;

static inline struct ak_uuid id_of(unsigned n)
{
    struct ak_uuid id = {{0x01, 0x98, 0, 0, 0, 0, 0x70, 0, 0x80}};
    for (int i = 0; i < 4; i++) {
        id.b[15 - i] = (uint8_t)(n >> (8 * i));
    }
    return id;
}

/* Bits that are easily lost: -0, denormals, the ends of the range; then numbers of all sizes. */
static inline float number(struct ak_rand *rand, size_t i)
{
    static const float odd[] = {-0.0f,         0.0f,           1e-45f, -1e-45f, 1.17549421e-38f,
                                3.4028235e38f, -3.4028235e38f, 0.1f,   -1.0f,   16777217.0f};
    if (i % 37 < sizeof odd / sizeof odd[0] && i % 3 == 0) {
        return odd[i % 37];
    }
    return (float)ak_rand_normal(rand) * (i % 11 == 0 ? 1e-20f : 1.0f);
}

static inline struct ak_str text_of(struct world *w, const char *fmt, size_t i)
{
    char text[200];
    int len = snprintf(text, sizeof text, "%s%zu", fmt, i);
    return ak_arena_str(&w->strings, (struct ak_str){text, (size_t)len});
}

static inline struct ak_str metadata_of(struct world *w, size_t i)
{
    char text[200];
    int len = snprintf(text, sizeof text, "{\"n\":%zu,\"text\":\"\xC3\xA4\\n\\\"%zu\",\"e\":[]}", i,
                       i * 7);
    return ak_arena_str(&w->strings, (struct ak_str){text, (size_t)len});
}

static enum ak_rc read_docs(void *ctx, uint64_t from, size_t count, struct ak_document *rows,
                            struct ak_err *e)
{
    struct world *w = ctx;
    if (from + count > w->count) {
        return ak_fail(e, AK_INTERNAL, "asked past the end");
    }
    memcpy(rows, w->docs + from, count * sizeof *rows);
    return AK_OK;
}

/* With tame: numbers near those of embeddings, so that lossy encodings mean something. */
static inline void world_open(struct world *w, uint32_t dimension, size_t count, bool tame)
{
    struct ak_rand rand;
    ak_rand_seed(&rand, 7);
    *w = (struct world){.dimension = dimension, .count = count};
    ak_arena_init(&w->strings, 0);
    w->docs = ak_zalloc((count + 1) * sizeof *w->docs);
    w->vectors = ak_zalloc((count * dimension + 1) * sizeof *w->vectors);
    for (size_t i = 0; i < count * dimension; i++) {
        w->vectors[i] = tame ? (float)ak_rand_normal(&rand) * 0.05f : number(&rand, i);
    }
    for (size_t i = 0; i < count; i++) {
        struct ak_document *doc = &w->docs[i];
        doc->id = id_of((unsigned)(i * 2654435761u));
        doc->external_id = i % 3 ? text_of(w, "doc \xE2\x82\xAC\"", i) : AK_STR_NONE;
        doc->metadata = i % 4 ? metadata_of(w, i) : AK_STR_NONE;
        doc->vector = w->vectors + i * dimension;
        doc->inserted_us = AT_US - (int64_t)(i * 1000003);
    }
    w->info = (struct ak_collection_info){.id = id_of(77),
                                          .name = AK_STR("b\xC3\xBC"
                                                         "cher"),
                                          .dimension = dimension,
                                          .metric = AK_METRIC_DOT,
                                          .embedding_model = AK_STR("e5"),
                                          .index = ak_index_params_default(),
                                          .state = AK_COLLECTION_READY,
                                          .created_us = 1};
    w->source = (struct ak_snapshot_source){
        .info = w->info, .lsn = 4711, .rows = count, .read = read_docs, .ctx = w};
    ak_buf_init(&w->image, 0);
    CHECK_OK(ak_objstore_open_mem(NULL, &w->store, &err));
}

static inline void world_close(struct world *w)
{
    ak_objstore_close(w->store);
    ak_buf_release(&w->image);
    ak_arena_release(&w->strings);
    ak_free(w->docs);
    ak_free(w->vectors);
}

/* The sections that a snapshot's verification looks at, with a dead slot before every fifth row. */
static inline enum ak_rc put_image(struct world *w, struct ak_image_writer *writer)
{
    size_t stride = (w->dimension * sizeof(float) + 63) / 64 * 64;
    size_t slots = w->count + (w->count + 4) / 5;
    size_t words = (slots + 63) / 64;
    char *vectors = ak_zalloc(slots * stride);
    struct ak_uuid *ids = ak_zalloc(slots * sizeof *ids);
    uint64_t *dead = ak_zalloc(words * sizeof *dead);
    for (size_t i = 0, slot = 0; i < w->count; i++, slot++) {
        if (i % 5 == 0) {
            dead[slot / 64] |= (uint64_t)1 << (slot % 64);
            slot++;
        }
        memcpy(vectors + slot * stride, w->docs[i].vector, w->dimension * sizeof(float));
        ids[slot] = w->docs[i].id;
    }
    enum ak_rc rc = ak_image_put(writer, AK_IMAGE_VECTORS, stride, slots, vectors, &err);
    rc = rc ? rc : ak_image_put(writer, AK_IMAGE_DOC_IDS, sizeof *ids, slots, ids, &err);
    rc = rc ? rc : ak_image_put(writer, AK_IMAGE_DELETED, sizeof *dead, words, dead, &err);
    ak_free(vectors);
    ak_free(ids);
    ak_free(dead);
    return rc;
}

static inline void world_image_blob(struct world *w)
{
    struct ak_image_writer *writer = NULL;
    ak_buf_clear(&w->image);
    CHECK_OK(ak_image_create_blob(&w->image, &writer, &err));
    CHECK_OK(put_image(w, writer));
    CHECK_OK(ak_image_commit(writer, NULL, &err));
    w->source.image_blob = ak_buf_str(&w->image);
}

/* In the test's folder; the path lives as long as the program. */
static inline void world_image_file(struct world *w)
{
    static char path[1024];
    struct ak_image_writer *writer = NULL;
    (void)snprintf(path, sizeof path, "%s/held.akx", ak_test_dir());
    CHECK_OK(ak_image_create_file(ak_fs_posix(), path, &writer, &err));
    CHECK_OK(put_image(w, writer));
    CHECK_OK(ak_image_commit(writer, NULL, &err));
    w->source.image_path = path;
    CHECK_OK(ak_fs_read_all(ak_fs_posix(), path, 1u << 30, &w->image, &err));
}

static inline struct ak_snapshot_options options_of(enum ak_snapshot_format format)
{
    return (struct ak_snapshot_options){.format = format, .compression = AK_CODEC_ZSTD};
}

/* Write and commit; strings in the world's arena. */
static inline enum ak_rc take(struct world *w, unsigned n,
                              const struct ak_snapshot_options *options,
                              struct ak_snapshot_meta *meta)
{
    struct ak_uuid id = id_of(n);
    enum ak_rc rc = ak_snapshot_write(w->store, &id, &w->source, options, AT_US, &w->strings, NULL,
                                      NULL, meta, &err);
    return rc == AK_OK ? ak_snapshot_commit(w->store, meta, &err) : rc;
}

/* --- Comparing --- */

struct compare {
    const struct world *w;
    size_t at;
    size_t batches;
    bool is_lossy; /* vectors are then only looked at for their error */
    double max_error;
};

static inline enum ak_rc compare_rows(void *ctx, const struct ak_document *rows, size_t count,
                                      struct ak_err *e)
{
    struct compare *c = ctx;
    (void)e;
    c->batches++;
    for (size_t i = 0; i < count; i++) {
        CHECK(c->at < c->w->count);
        const struct ak_document *want = &c->w->docs[c->at++];
        CHECK(ak_uuid_eq(&rows[i].id, &want->id));
        CHECK(ak_str_eq(rows[i].external_id, want->external_id));
        CHECK(ak_str_eq(rows[i].metadata, want->metadata));
        CHECK_INT(rows[i].inserted_us, want->inserted_us);
        if (!c->is_lossy) {
            CHECK(memcmp(rows[i].vector, want->vector, c->w->dimension * sizeof(float)) == 0);
        }
        for (size_t k = 0; k < c->w->dimension && c->is_lossy; k++) {
            double change = fabs((double)rows[i].vector[k] - (double)want->vector[k]);
            c->max_error = change > c->max_error ? change : c->max_error;
        }
    }
    return AK_OK;
}

static inline enum ak_rc ignore_rows(void *ctx, const struct ak_document *rows, size_t count,
                                     struct ak_err *e)
{
    (void)ctx, (void)rows, (void)count, (void)e;
    return AK_OK;
}

static inline void check_same(struct world *w, const struct ak_snapshot_meta *meta)
{
    struct compare compare = {.w = w};
    CHECK_OK(ak_snapshot_read(w->store, meta, compare_rows, &compare, &err));
    CHECK_INT(compare.at, w->count);
}

/* How many objects a store holds under a prefix. */
static inline size_t objects_in(struct ak_objstore *store, const char *prefix)
{
    struct ak_arena arena;
    struct ak_object *objects = NULL;
    size_t count = 0;
    ak_arena_init(&arena, 0);
    enum ak_rc rc = ak_objstore_list(store, ak_str_of(prefix), AK_STR_NONE, 1000, &arena, &objects,
                                     &count, &err);
    ak_arena_release(&arena);
    CHECK_OK(rc);
    return count;
}
