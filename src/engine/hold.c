/* hold.c — the image of one state, kept while it is read.
 *
 * A hold is made under keeper.work, right after the checkpoint that wrote its image if one was due:
 * nothing can remove the file between. It stands in the engine's list of holds, under the
 * directory's lock, with the collection's id and the image's generation.
 *
 *     held ──checkpoint, drop or adoption supersedes the image──> doomed ──last release──> removed
 *       └────────────release──────────> the file stays: it is current
 *
 * H1  Whoever wants an image file gone asks ak_hold_remove_image(), under keeper.work: it removes
 *     the file, or, when there are holds on it, dooms them.
 * H2  The last doomed hold on an image removes its file. Generations are never used twice, so no
 *     other image can have come under the name.
 * H3  A crash forgets the holds, and leaves at most a file that the catalog does not name: garbage
 *     by I4 of checkpoint.c.
 * H4  A hold has its own mapping of the image, and refers to no entry and no live collection: what
 *     happens to those does not concern it.
 */
#include "engine/hold.h"
#include "base/mem.h"
#include "engine/engine_priv.h"
#include <stdio.h>
#include <string.h>

#define RANK_SLOTS 4096                    /* slots between two entries of the rank table */
#define PASSED_BYTES ((uint64_t)512 << 10) /* of vectors that are given back at once */
#define PARTS 5                            /* sections that grow with the rows */

struct ak_hold {
    struct ak_engine *engine;
    struct ak_collection_info info;
    struct ak_checkpoint checkpoint;
    struct ak_arena strings;
    char path[AK_IMAGE_PATH_MAX];
    struct ak_buf blob;
    struct ak_image *image; /* NULL: the collection never had a document */
    struct ak_index_rows rows;
    struct ak_docs_sections docs;
    uint64_t *ranks;          /* live slots before slot n · RANK_SLOTS; NULL: all are live */
    _Atomic uint64_t let_go;  /* slots whose pages were given back; pairs with itself: a hint */
    struct ak_hold *next;     /* directory lock */
    bool is_doomed, is_known; /* directory lock */
    bool is_fresh;            /* the image was written for this hold, a moment ago */
};

static bool is_file(const struct ak_checkpoint *checkpoint)
{
    return checkpoint->generation && !checkpoint->tiny;
}

static bool holds(const struct ak_hold *hold, const struct ak_uuid *id, uint64_t generation)
{
    return ak_uuid_eq(&hold->info.id, id) && hold->checkpoint.generation == generation;
}

static void remove_file(struct ak_engine *engine, const struct ak_uuid *id, uint64_t generation)
{
    char path[AK_IMAGE_PATH_MAX];
    struct ak_err err;
    ak_collection_image_path(engine, id, generation, path);
    enum ak_rc rc = ak_fs_remove(engine->fs, path, &err);
    if (rc != AK_OK && rc != AK_NOT_FOUND) {
        ak_log_warn(engine->log, "engine", "old image stays until the next start: %s", err.text);
    }
}

void ak_hold_remove_image(struct ak_engine *engine, const struct ak_uuid *id,
                          const struct ak_checkpoint *checkpoint)
{
    struct ak_directory *dir = &engine->directory;
    bool is_held = false;
    if (!is_file(checkpoint)) {
        return;
    }
    ak_mutex_lock(&dir->lock);
    for (struct ak_hold *hold = engine->holds; hold; hold = hold->next) {
        if (holds(hold, id, checkpoint->generation)) {
            hold->is_doomed = true;
            is_held = true;
        }
    }
    ak_mutex_unlock(&dir->lock);
    if (!is_held) {
        remove_file(engine, id, checkpoint->generation);
    }
}

/* --- Making one --- */

/* Under keeper.work: what is dirty is written; then the state to hold is in *hold. */
static enum ak_rc fix_state(struct ak_engine *engine, struct ak_str name_or_id,
                            struct ak_hold *hold, struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    enum ak_rc rc = AK_OK;
    ak_mutex_lock(&dir->lock);
    struct ak_entry *entry = ak_directory_find(dir, name_or_id);
    struct ak_collection *live = entry && entry->dirty_from ? entry->live : NULL;
    if (live) { /* dirty collections are never closed */
        live->refs++;
    }
    if (entry) {
        rc = ak_tier_is_cold(entry, err);
    }
    ak_mutex_unlock(&dir->lock);
    if (!entry) {
        return ak_fail(err, AK_NOT_FOUND, "no collection '%.*s'", AK_STR_ARG(name_or_id));
    }
    if (live) {
        rc = ak_checkpoint_one(engine, live, err);
        hold->is_fresh = rc == AK_OK;
        ak_collection_unref(live);
    }
    if (rc != AK_OK) {
        return rc;
    }
    ak_mutex_lock(&dir->lock); /* only keeper.work removes entries */
    hold->checkpoint = entry->checkpoint;
    hold->is_fresh = hold->is_fresh && is_file(&hold->checkpoint);
    hold->info = entry->info;
    hold->info.name = ak_arena_str(&hold->strings, entry->info.name);
    hold->info.embedding_model = ak_arena_str(&hold->strings, entry->info.embedding_model);
    bool has_memory = hold->info.name.p && hold->info.embedding_model.p;
    if (has_memory && is_file(&hold->checkpoint)) {
        hold->is_known = true;
        hold->next = engine->holds;
        engine->holds = hold;
    }
    ak_mutex_unlock(&dir->lock);
    return has_memory ? AK_OK : ak_fail(err, AK_NOMEM, "hold a collection");
}

static enum ak_rc open_blob(struct ak_hold *hold, struct ak_err *err)
{
    enum ak_rc rc = ak_catalog_tiny(hold->engine->catalog, &hold->info.id, &hold->blob, err);
    if (rc != AK_OK) {
        return rc;
    }
    char *copy = ak_try_alloc(hold->blob.len + 1);
    if (!copy) {
        return ak_fail(err, AK_NOMEM, "hold an image of %zu bytes", hold->blob.len);
    }
    if (hold->blob.len) {
        memcpy(copy, hold->blob.p, hold->blob.len);
    }
    return ak_image_open_blob(copy, hold->blob.len, &hold->image, err);
}

static enum ak_rc count_ranks(struct ak_hold *hold, struct ak_err *err)
{
    const struct ak_index_rows *rows = &hold->rows;
    uint64_t blocks = (rows->slots + RANK_SLOTS - 1) / RANK_SLOTS;
    if (!rows->dead) {
        return AK_OK;
    }
    hold->ranks = ak_try_alloc((blocks + 1) * sizeof *hold->ranks);
    if (!hold->ranks) {
        return ak_fail(err, AK_NOMEM, "hold %llu rows", (unsigned long long)rows->slots);
    }
    uint64_t before = 0;
    for (uint64_t slot = 0; slot < rows->slots; slot++) {
        if (slot % RANK_SLOTS == 0) {
            hold->ranks[slot / RANK_SLOTS] = before;
        }
        before += !(rows->dead[slot / 64] >> (slot % 64) & 1);
    }
    hold->ranks[blocks] = before;
    return AK_OK;
}

static enum ak_rc open_image(struct ak_hold *hold, struct ak_err *err)
{
    struct ak_index_options options = ak_collection_index_options(hold->engine, &hold->info);
    const struct ak_checkpoint *checkpoint = &hold->checkpoint;
    enum ak_rc rc = AK_OK;
    if (checkpoint->tiny) {
        rc = open_blob(hold, err);
    } else {
        ak_collection_image_path(hold->engine, &hold->info.id, checkpoint->generation, hold->path);
        rc = ak_image_open_file(hold->engine->fs, hold->path, &hold->image, err);
    }
    if (rc == AK_OK) {
        ak_image_stream(hold->image);
        if (!hold->is_fresh) { /* damage must not spread into snapshots */
            rc = ak_image_check_all(hold->image, err);
        }
    }
    if (rc == AK_OK) {
        rc = ak_index_rows_of(&options, hold->image, &hold->rows, err);
    }
    if (rc == AK_OK) {
        rc = ak_docs_sections(hold->image, hold->rows.slots, &hold->docs, err);
    }
    if (rc == AK_OK) { /* all of them were looked at */
        const struct ak_image_section *refs = &hold->docs.refs;
        ak_image_let_go(hold->image, refs->file_at, refs->file_at + refs->len);
    }
    if (rc == AK_OK &&
        (hold->docs.lsn != checkpoint->image_lsn || hold->rows.live != checkpoint->documents)) {
        rc = ak_fail(err, AK_CORRUPT, "the image is not the one that the catalog names");
    }
    return rc == AK_OK ? count_ranks(hold, err) : rc;
}

enum ak_rc ak_engine_hold(struct ak_engine *engine, struct ak_str name_or_id, struct ak_hold **out,
                          struct ak_err *err)
{
    struct ak_hold *hold = ak_zalloc(sizeof *hold);
    hold->engine = engine;
    ak_arena_init(&hold->strings, 0);
    ak_buf_init(&hold->blob, 0);
    ak_mutex_lock(&engine->keeper.work);
    enum ak_rc rc = fix_state(engine, name_or_id, hold, err);
    if (rc == AK_OK && hold->checkpoint.tiny) {
        rc = open_image(hold, err); /* the next checkpoint would replace the blob */
    }
    ak_mutex_unlock(&engine->keeper.work);
    if (rc == AK_OK && is_file(&hold->checkpoint)) {
        rc = open_image(hold, err);
    }
    if (rc != AK_OK) {
        ak_hold_release(hold);
        return ak_wrap(err, rc, "hold '%.*s'", AK_STR_ARG(name_or_id));
    }
    *out = hold;
    return AK_OK;
}

/* Out of the list; true when the file is this hold's to remove. */
static bool leave(struct ak_hold *hold)
{
    struct ak_engine *engine = hold->engine;
    struct ak_directory *dir = &engine->directory;
    bool is_last = hold->is_known;
    ak_mutex_lock(&dir->lock);
    for (struct ak_hold **at = &engine->holds; *at;) {
        if (*at == hold) {
            *at = hold->next;
        } else {
            is_last = is_last && !holds(*at, &hold->info.id, hold->checkpoint.generation);
            at = &(*at)->next;
        }
    }
    bool removes = is_last && hold->is_doomed;
    ak_mutex_unlock(&dir->lock);
    return removes;
}

void ak_hold_release(struct ak_hold *hold)
{
    if (!hold) {
        return;
    }
    ak_image_close(hold->image);
    if (leave(hold)) {
        remove_file(hold->engine, &hold->info.id, hold->checkpoint.generation);
    }
    ak_buf_release(&hold->blob);
    ak_arena_release(&hold->strings);
    ak_free(hold->ranks);
    ak_free(hold);
}

/* --- Reading --- */

bool ak_hold_is_checked(const struct ak_hold *hold)
{
    return !hold->is_fresh;
}

const struct ak_collection_info *ak_hold_info(const struct ak_hold *hold)
{
    return &hold->info;
}

uint64_t ak_hold_lsn(const struct ak_hold *hold)
{
    return hold->checkpoint.lsn;
}

uint64_t ak_hold_rows(const struct ak_hold *hold)
{
    return hold->rows.live;
}

uint64_t ak_hold_generation(const struct ak_hold *hold)
{
    return hold->checkpoint.generation;
}

const char *ak_hold_image_path(const struct ak_hold *hold)
{
    return is_file(&hold->checkpoint) ? hold->path : NULL;
}

struct ak_str ak_hold_image_blob(const struct ak_hold *hold)
{
    return ak_buf_str(&hold->blob);
}

/* The slot of live row number `row`. */
static uint64_t slot_of(const struct ak_hold *hold, uint64_t row)
{
    if (!hold->ranks) {
        return row;
    }
    uint64_t low = 0; /* the last block with at most `row` live slots before it */
    uint64_t high = (hold->rows.slots - 1) / RANK_SLOTS;
    while (low < high) {
        uint64_t mid = (low + high + 1) / 2;
        if (hold->ranks[mid] <= row) {
            low = mid;
        } else {
            high = mid - 1;
        }
    }
    uint64_t left = row - hold->ranks[low];
    uint64_t word = low * (RANK_SLOTS / 64);
    uint64_t live = ~hold->rows.dead[word];
    while ((uint64_t)__builtin_popcountll(live) <= left) {
        left -= (uint64_t)__builtin_popcountll(live);
        live = ~hold->rows.dead[++word];
    }
    for (; left; left--) {
        live &= live - 1;
    }
    return word * 64 + (uint64_t)__builtin_ctzll(live);
}

static bool is_dead(const struct ak_hold *hold, uint64_t slot)
{
    return hold->rows.dead && (hold->rows.dead[slot / 64] >> (slot % 64) & 1);
}

static struct ak_document document_at(const struct ak_hold *hold, uint64_t slot)
{
    const struct ak_text_ref *ref = (const struct ak_text_ref *)hold->docs.refs.p + slot;
    const char *text = (const char *)hold->docs.text.p + ref->at;
    const void *vector = hold->rows.vectors + slot * hold->rows.stride;
    return (struct ak_document){
        .id = ((const struct ak_uuid *)hold->docs.ids.p)[slot],
        .external_id = ref->external_len ? (struct ak_str){text, ref->external_len} : AK_STR_NONE,
        .vector = vector,
        .metadata = ref->metadata_len ? (struct ak_str){text + ref->external_len, ref->metadata_len}
                                      : AK_STR_NONE,
        .inserted_us = ((const int64_t *)hold->docs.times.p)[slot],
    };
}

/* Where the text of slots from `slot` on begins, if they lie in order, as an image is written. */
static uint64_t text_from(const struct ak_hold *hold, uint64_t slot)
{
    const struct ak_text_ref *refs = hold->docs.refs.p;
    uint64_t at = refs[slot].at;
    return at < hold->docs.text.len ? at : hold->docs.text.len;
}

/* A race between readers costs at most page faults. */
void ak_hold_passed(struct ak_hold *hold, uint64_t row)
{
    uint64_t done = atomic_load_explicit(&hold->let_go, memory_order_relaxed);
    if (row == 0 || row > hold->rows.live) {
        return;
    }
    uint64_t to = slot_of(hold, row - 1); /* its pages may be those of the next as well */
    if (to <= done + PASSED_BYTES / hold->rows.stride) {
        return;
    }
    const struct ak_docs_sections *docs = &hold->docs;
    const uint64_t parts[PARTS][3] = {
        {hold->rows.vectors_at, done * hold->rows.stride, to * hold->rows.stride},
        {docs->ids.file_at, done * docs->ids.stride, to * docs->ids.stride},
        {docs->times.file_at, done * docs->times.stride, to * docs->times.stride},
        {docs->text.file_at, text_from(hold, done), text_from(hold, to)},
        {docs->refs.file_at, done * docs->refs.stride, to * docs->refs.stride},
    };
    atomic_store_explicit(&hold->let_go, to, memory_order_relaxed);
    for (int i = 0; i < PARTS; i++) {
        if (parts[i][1] < parts[i][2]) {
            ak_image_let_go(hold->image, parts[i][0] + parts[i][1], parts[i][0] + parts[i][2]);
        }
    }
}

enum ak_rc ak_hold_read(struct ak_hold *hold, uint64_t from, size_t count, struct ak_document *docs,
                        struct ak_err *err)
{
    if (from > hold->rows.live || count > hold->rows.live - from) {
        return ak_fail(err, AK_INVALID, "rows %llu to %llu of %llu", (unsigned long long)from,
                       (unsigned long long)from + count, (unsigned long long)hold->rows.live);
    }
    if (count == 0) {
        return AK_OK;
    }
    uint64_t slot = slot_of(hold, from);
    for (size_t i = 0; i < count; slot++) { /* the count was held against the bitmap at open */
        if (!is_dead(hold, slot)) {
            docs[i++] = document_at(hold, slot);
        }
    }
    return AK_OK;
}

struct ak_catalog *ak_engine_catalog(struct ak_engine *engine)
{
    return engine->catalog;
}

struct ak_fs *ak_engine_fs(struct ak_engine *engine)
{
    return engine->fs;
}
