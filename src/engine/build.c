/* build.c — an image from documents, outside of any collection.
 *
 * Index and documents are filled as a collection's are, without log and without a name: a crash
 * leaves at most a file that the next open removes. All rows are linked before the image is
 * written, on as many threads as the engine builds with.
 */
#include "base/mem.h"
#include "engine/engine_priv.h"
#include "engine/hold.h"

#define LINK_SHARE 64
#define TELL_MS 20
#define IDLE_MAX 100u /* such waits: memory may come back */

struct ak_image_builder {
    struct ak_engine *engine;
    struct ak_collection_info info;
    struct ak_index *index;
    struct ak_docs docs;
};

/* The linking threads, and when they are done. */
struct linking {
    struct ak_index *index;
    struct ak_mutex lock;
    struct ak_cond ended;
    unsigned running;
    _Atomic bool stop; /* pairs with itself: only a hint to end early */
};

enum ak_rc ak_image_builder_open(struct ak_engine *engine, const struct ak_collection_info *info,
                                 struct ak_image_builder **out, struct ak_err *err)
{
    enum ak_rc rc = ak_collection_info_check(info, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_image_builder *builder = ak_zalloc(sizeof *builder);
    struct ak_index_options options = ak_collection_index_options(engine, info);
    builder->engine = engine;
    builder->info = *info;
    builder->info.name = builder->info.embedding_model = AK_STR_NONE;
    ak_docs_init(&builder->docs, engine->epoch);
    rc = ak_index_open(&options, &builder->index, err);
    if (rc != AK_OK) {
        ak_image_builder_abort(builder);
        return rc;
    }
    *out = builder;
    return AK_OK;
}

void ak_image_builder_abort(struct ak_image_builder *builder)
{
    if (builder) {
        ak_index_close(builder->index);
        ak_docs_release(&builder->docs);
        ak_free(builder);
    }
}

static enum ak_rc add_one(struct ak_image_builder *builder, const struct ak_document *doc,
                          struct ak_err *err)
{
    char id[AK_UUID_TEXT_LEN];
    uint64_t text = doc->external_id.len + doc->metadata.len;
    uint32_t stored = 0;
    if (ak_docs_find(&builder->docs, &doc->id) != AK_MAP_NONE) {
        ak_uuid_format(&doc->id, id);
        return ak_fail(err, AK_EXISTS, "document id %.36s came twice", id);
    }
    enum ak_rc rc = ak_index_reserve(builder->index, 1, err);
    if (rc == AK_OK) {
        rc = ak_docs_reserve(&builder->docs, ak_index_slots(builder->index) + 1, 1, text, err);
    }
    if (rc == AK_OK) {
        uint32_t slot = ak_index_next_slot(builder->index);
        (void)ak_docs_set(&builder->docs, slot, doc);
        rc = ak_index_add(builder->index, doc->vector, &stored, err);
        AK_ASSERT(rc != AK_OK || stored == slot);
    }
    return rc;
}

enum ak_rc ak_image_builder_add(struct ak_image_builder *builder, const struct ak_document *docs,
                                size_t count, struct ak_err *err)
{
    const struct ak_collection_info *info = &builder->info;
    enum ak_rc rc = AK_OK;
    for (size_t i = 0; i < count && rc == AK_OK; i++) {
        rc = ak_uuid_is_nil(&docs[i].id)
                 ? ak_fail(err, AK_INVALID, "row %zu has no id", i)
                 : ak_document_check(&docs[i], info->dimension, info->metric, (int64_t)i, err);
        if (rc == AK_OK) {
            rc = add_one(builder, &docs[i], err);
        }
    }
    return rc;
}

static void link_rows(void *arg)
{
    struct linking *linking = arg;
    while (!atomic_load(&linking->stop) && ak_index_build_some(linking->index, LINK_SHARE)) {
        (void)ak_index_renew(linking->index);
    }
    ak_mutex_lock(&linking->lock);
    linking->running--;
    ak_cond_broadcast(&linking->ended);
    ak_mutex_unlock(&linking->lock);
}

/* Start what helps, link on this thread as well, and wait for all. AK_CONFLICT: cancelled. */
static enum ak_rc link_all(struct ak_image_builder *builder,
                           bool (*progress)(void *ctx, uint64_t left), void *ctx,
                           struct ak_err *err)
{
    struct linking linking = {.index = builder->index};
    unsigned wanted = builder->engine->build_threads;
    struct ak_thread *threads = ak_zalloc(wanted * sizeof *threads);
    uint64_t left = 0;
    unsigned idle = 0; /* rounds without a row, though no other thread has any */
    enum ak_rc rc = AK_OK;
    struct ak_err ignored;
    ak_mutex_init(&linking.lock, AK_RANK_POOL, "linking");
    ak_cond_init(&linking.ended);
    for (unsigned i = 0; i + 1 < wanted; i++) {
        ak_mutex_lock(&linking.lock);
        bool runs = ak_thread_start(&threads[i], "ak-link", link_rows, &linking, &ignored) == AK_OK;
        linking.running += runs;
        ak_mutex_unlock(&linking.lock);
        if (!runs) {
            break; /* this thread links as well */
        }
    }
    while (rc == AK_OK && (left = ak_index_pending(builder->index)) > 0) {
        if (progress && !progress(ctx, left)) {
            rc = ak_fail(err, AK_CONFLICT, "cancelled");
        } else if (ak_index_build_some(builder->index, LINK_SHARE) > 0) {
            idle = 0;
            ak_index_settle(builder->index); /* this thread is the writer */
            (void)ak_index_renew(builder->index);
        } else { /* the last rows are in the hands of the others, or there is no memory */
            ak_mutex_lock(&linking.lock);
            idle = linking.running ? 0 : idle + 1;
            (void)ak_cond_wait_ms(&linking.ended, &linking.lock, TELL_MS);
            ak_mutex_unlock(&linking.lock);
            rc = idle > IDLE_MAX ? ak_fail(err, AK_NOMEM, "no memory to link rows") : rc;
        }
    }
    atomic_store(&linking.stop, true);
    for (unsigned i = 0; i < wanted; i++) {
        ak_thread_join(&threads[i]);
    }
    ak_cond_release(&linking.ended);
    ak_mutex_release(&linking.lock);
    ak_free(threads);
    return rc;
}

static enum ak_rc write_image(struct ak_image_builder *builder, const char *path,
                              struct ak_err *err)
{
    struct ak_image_writer *writer = NULL;
    enum ak_rc rc = ak_index_freeze(builder->index, err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = ak_image_create_file(builder->engine->fs, path, &writer, err);
    if (rc == AK_OK) {
        rc = ak_index_write(builder->index, writer, err);
        if (rc == AK_OK) {
            rc = ak_docs_write(&builder->docs, ak_index_frozen_slots(builder->index),
                               ak_index_frozen_live(builder->index), 0, writer, err);
        }
        if (rc == AK_OK) {
            rc = ak_image_commit(writer, NULL, err);
        } else {
            ak_image_abort(writer);
        }
    }
    ak_index_unfreeze(builder->index);
    return rc;
}

enum ak_rc ak_image_builder_commit(struct ak_image_builder *builder, const char *path,
                                   bool (*progress)(void *ctx, uint64_t left), void *ctx,
                                   uint64_t *documents, struct ak_err *err)
{
    enum ak_rc rc = link_all(builder, progress, ctx, err);
    rc = rc == AK_OK ? write_image(builder, path, err) : rc;
    if (rc == AK_OK) {
        *documents = ak_index_live(builder->index);
    }
    ak_image_builder_abort(builder);
    return rc;
}
