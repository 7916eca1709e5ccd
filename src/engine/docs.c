/* docs.c — ids, times, external ids and metadata by slot, and the way from an id to its slot.
 *
 * Rows are slabs: readers inside the epoch use them without a lock. Text (external id, then
 * metadata) is appended to one byte slab; a row's reference is written before the row is findable,
 * and a slot is reused only after every reader that could hold it has left, so a reader never sees
 * half a row. Removing a document leaves its bytes; compaction rewrites the text when a third of it
 * is dead.
 *
 * I1  the map holds exactly the ids of live slots, once `mapped`.
 * I2  refs[slot].at + lengths ≤ text_len for every live slot (checked on load).
 */
#include "base/limits.h"
#include "base/mem.h"
#include "engine/engine_priv.h"
#include <string.h>

#define TEXT_COMPACT_MIN (64u << 10)

struct doc_state { /* section AK_IMAGE_DOC_STATE */
    uint64_t slots;
    uint64_t lsn;
    uint64_t text_len;
    uint64_t reserved;
};

static struct ak_doc_text *text_open(struct ak_epoch *epoch)
{
    struct ak_doc_text *text = ak_zalloc(sizeof *text);
    ak_slab_init(&text->refs, sizeof(struct ak_text_ref), false, epoch);
    ak_slab_init(&text->bytes, 1, false, epoch);
    return text;
}

static void text_close(void *arg)
{
    struct ak_doc_text *text = arg;
    if (text) {
        ak_slab_release(&text->refs);
        ak_slab_release(&text->bytes);
        ak_free(text);
    }
}

static struct ak_doc_text *text_now(const struct ak_docs *docs)
{
    return atomic_load_explicit(&docs->text, memory_order_acquire);
}

void ak_docs_init(struct ak_docs *docs, struct ak_epoch *epoch)
{
    *docs = (struct ak_docs){.mapped = true};
    ak_slab_init(&docs->ids, sizeof(struct ak_uuid), false, epoch);
    ak_slab_init(&docs->times, sizeof(int64_t), false, epoch);
    atomic_init(&docs->text, text_open(epoch));
    ak_map_init(&docs->map);
}

void ak_docs_release(struct ak_docs *docs)
{
    ak_slab_release(&docs->ids);
    ak_slab_release(&docs->times);
    text_close(atomic_exchange(&docs->text, NULL));
    ak_map_release(&docs->map);
}

static enum ak_rc check_refs(const struct ak_text_ref *refs, uint64_t slots, uint64_t text_len,
                             struct ak_err *err)
{
    for (uint64_t i = 0; i < slots; i++) {
        uint64_t len = (uint64_t)refs[i].external_len + refs[i].metadata_len;
        if (refs[i].external_len > AK_EXTERNAL_ID_MAX || refs[i].metadata_len > AK_METADATA_MAX ||
            len > text_len || refs[i].at > text_len - len) {
            return ak_fail(err, AK_CORRUPT, "text of slot %llu lies outside its section",
                           (unsigned long long)i);
        }
    }
    return AK_OK;
}

static void view(struct ak_slab *slab, size_t stride, struct ak_epoch *epoch,
                 const struct ak_image *image, const struct ak_image_section *section)
{
    ak_slab_release(slab);
    ak_slab_init_view(slab, stride, false, epoch, section->p, section->rows, ak_image_fd(image),
                      section->file_at);
}

enum ak_rc ak_docs_sections(const struct ak_image *image, uint64_t slots,
                            struct ak_docs_sections *sections, struct ak_err *err)
{
    struct ak_image_section section;
    struct ak_docs_sections found = {0};
    struct doc_state state;
    enum ak_rc rc = ak_image_need(image, AK_IMAGE_DOC_STATE, sizeof state, 1, &section, err);
    if (rc != AK_OK) {
        return rc;
    }
    memcpy(&state, section.p, sizeof state);
    if (state.slots != slots) {
        return ak_fail(err, AK_CORRUPT, "the image has %llu vectors and %llu documents",
                       (unsigned long long)slots, (unsigned long long)state.slots);
    }
    if ((rc = ak_image_need(image, AK_IMAGE_DOC_IDS, sizeof(struct ak_uuid), slots, &found.ids,
                            err)) ||
        (rc =
             ak_image_need(image, AK_IMAGE_DOC_TIMES, sizeof(int64_t), slots, &found.times, err)) ||
        (rc = ak_image_need(image, AK_IMAGE_DOC_TEXT_AT, sizeof(struct ak_text_ref), slots,
                            &found.refs, err)) ||
        (rc = ak_image_need(image, AK_IMAGE_DOC_TEXT, 1, state.text_len, &found.text, err)) ||
        (rc = check_refs(found.refs.p, slots, state.text_len, err))) {
        return rc;
    }
    found.lsn = state.lsn;
    found.text_len = state.text_len;
    *sections = found;
    return AK_OK;
}

enum ak_rc ak_docs_load(struct ak_docs *docs, struct ak_epoch *epoch, const struct ak_image *image,
                        uint64_t slots, uint64_t *lsn, struct ak_err *err)
{
    struct ak_docs_sections found;
    enum ak_rc rc = ak_docs_sections(image, slots, &found, err);
    if (rc != AK_OK) {
        return rc;
    }
    view(&docs->ids, sizeof(struct ak_uuid), epoch, image, &found.ids);
    view(&docs->times, sizeof(int64_t), epoch, image, &found.times);
    view(&text_now(docs)->refs, sizeof(struct ak_text_ref), epoch, image, &found.refs);
    view(&text_now(docs)->bytes, 1, epoch, image, &found.text);
    docs->slots = slots;
    docs->text_len = found.text_len;
    docs->mapped = false;
    *lsn = found.lsn;
    return AK_OK;
}

enum ak_rc ak_docs_thaw(struct ak_docs *docs, struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    if ((rc = ak_slab_thaw(&docs->ids, err)) || (rc = ak_slab_thaw(&docs->times, err)) ||
        (rc = ak_slab_thaw(&text_now(docs)->refs, err)) ||
        (rc = ak_slab_thaw(&text_now(docs)->bytes, err))) {
        return rc;
    }
    return AK_OK;
}

enum ak_rc ak_docs_own(struct ak_docs *docs, struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    if ((rc = ak_slab_own(&docs->ids, err)) || (rc = ak_slab_own(&docs->times, err)) ||
        (rc = ak_slab_own(&text_now(docs)->refs, err)) ||
        (rc = ak_slab_own(&text_now(docs)->bytes, err))) {
        return rc;
    }
    return AK_OK;
}

struct ak_uuid *ak_docs_id(const struct ak_docs *docs, uint32_t slot)
{
    return ak_slab_row(&docs->ids, slot);
}

int64_t ak_docs_time(const struct ak_docs *docs, uint32_t slot)
{
    return *(const int64_t *)ak_slab_row(&docs->times, slot);
}

static const struct ak_text_ref *ref_of(const struct ak_docs *docs, uint32_t slot)
{
    return ak_slab_row(&text_now(docs)->refs, slot);
}

/* One load of the text: its references and bytes belong together (a compaction replaces both). */
static struct ak_str text_of(const struct ak_docs *docs, uint32_t slot, bool external)
{
    const struct ak_doc_text *text = text_now(docs);
    const struct ak_text_ref *ref = ak_slab_row(&text->refs, slot);
    uint32_t len = external ? ref->external_len : ref->metadata_len;
    uint64_t at = external ? ref->at : ref->at + ref->external_len;
    return len ? (struct ak_str){ak_slab_base(&text->bytes) + at, len} : AK_STR_NONE;
}

struct ak_str ak_docs_external_id(const struct ak_docs *docs, uint32_t slot)
{
    return text_of(docs, slot, true);
}

struct ak_str ak_docs_metadata(const struct ak_docs *docs, uint32_t slot)
{
    return text_of(docs, slot, false);
}

static bool same_id(const void *ctx, uint32_t slot, const void *key)
{
    return ak_uuid_eq(ak_docs_id(ctx, slot), key);
}

uint32_t ak_docs_find(const struct ak_docs *docs, const struct ak_uuid *id)
{
    AK_ASSERT(docs->mapped);
    return ak_map_get(&docs->map, ak_uuid_hash(id), id, same_id, docs);
}

enum ak_rc ak_docs_index(struct ak_docs *docs, const struct ak_index *index, struct ak_err *err)
{
    if (docs->mapped) {
        return AK_OK;
    }
    enum ak_rc rc = ak_map_reserve(&docs->map, (uint32_t)ak_index_live(index), err);
    for (uint32_t slot = 0; rc == AK_OK && slot < docs->slots; slot++) {
        if (!ak_index_is_live(index, slot)) {
            continue;
        }
        uint32_t old = AK_MAP_NONE;
        const struct ak_uuid *id = ak_docs_id(docs, slot);
        rc = ak_map_put(&docs->map, ak_uuid_hash(id), id, slot, same_id, docs, &old, err);
        if (rc == AK_OK && old != AK_MAP_NONE) {
            rc = ak_fail(err, AK_CORRUPT, "slots %u and %u hold the same document id", old, slot);
        }
    }
    if (rc != AK_OK) {
        ak_map_release(&docs->map);
        ak_map_init(&docs->map);
        return rc;
    }
    docs->mapped = true;
    return AK_OK;
}

enum ak_rc ak_docs_reserve(struct ak_docs *docs, uint64_t slots, uint32_t new_ids, uint64_t text,
                           struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    if ((rc = ak_slab_reserve(&docs->ids, slots, err)) ||
        (rc = ak_slab_reserve(&docs->times, slots, err)) ||
        (rc = ak_slab_reserve(&text_now(docs)->refs, slots, err)) ||
        (rc = ak_slab_reserve(&text_now(docs)->bytes, docs->text_len + text, err)) ||
        (rc = ak_map_reserve(&docs->map, docs->map.count + new_ids, err))) {
        return rc;
    }
    return AK_OK;
}

static uint64_t text_len_of(const struct ak_docs *docs, uint32_t slot)
{
    const struct ak_text_ref *ref = ref_of(docs, slot);
    return (uint64_t)ref->external_len + ref->metadata_len;
}

uint32_t ak_docs_set(struct ak_docs *docs, uint32_t slot, const struct ak_document *doc)
{
    struct ak_text_ref ref = {.at = docs->text_len,
                              .external_len = (uint32_t)doc->external_id.len,
                              .metadata_len = (uint32_t)doc->metadata.len};
    char *text = ak_slab_base(&text_now(docs)->bytes) + docs->text_len;
    if (ref.external_len) {
        memcpy(text, doc->external_id.p, ref.external_len);
    }
    if (ref.metadata_len) {
        memcpy(text + ref.external_len, doc->metadata.p, ref.metadata_len);
    }
    docs->text_len += (uint64_t)ref.external_len + ref.metadata_len;
    *ak_docs_id(docs, slot) = doc->id;
    *(int64_t *)ak_slab_row(&docs->times, slot) = doc->inserted_us;
    *(struct ak_text_ref *)ak_slab_row(&text_now(docs)->refs, slot) = ref;
    if (slot >= docs->slots) {
        docs->slots = (uint64_t)slot + 1;
    }
    uint32_t old = AK_MAP_NONE;
    enum ak_rc rc =
        ak_map_put(&docs->map, ak_uuid_hash(&doc->id), &doc->id, slot, same_id, docs, &old, NULL);
    AK_ASSERT(rc == AK_OK); /* ak_docs_reserve made room */
    if (old != AK_MAP_NONE) {
        docs->text_dead += text_len_of(docs, old);
    }
    return old;
}

void ak_docs_remove(struct ak_docs *docs, uint32_t slot)
{
    const struct ak_uuid *id = ak_docs_id(docs, slot);
    uint32_t was = ak_map_remove(&docs->map, ak_uuid_hash(id), id, same_id, docs);
    AK_ASSERT(was == slot); /* I1 */
    docs->text_dead += text_len_of(docs, slot);
}

void ak_docs_move(struct ak_docs *docs, uint32_t from, uint32_t to)
{
    const struct ak_uuid *id = ak_docs_id(docs, from);
    uint32_t old = AK_MAP_NONE;
    *ak_docs_id(docs, to) = *id;
    *(int64_t *)ak_slab_row(&docs->times, to) = ak_docs_time(docs, from);
    *(struct ak_text_ref *)ak_slab_row(&text_now(docs)->refs, to) = *ref_of(docs, from);
    enum ak_rc rc = ak_map_put(&docs->map, ak_uuid_hash(id), id, to, same_id, docs, &old, NULL);
    AK_ASSERT(rc == AK_OK && old == from); /* replaced: no memory is needed */
}

void ak_docs_cut(struct ak_docs *docs, uint64_t slots)
{
    docs->slots = slots < docs->slots ? slots : docs->slots;
}

void ak_docs_give_back(struct ak_docs *docs)
{
    ak_slab_shrink(&docs->ids, docs->slots);
    ak_slab_shrink(&docs->times, docs->slots);
    ak_slab_shrink(&text_now(docs)->refs, docs->slots);
}

static bool bit(const uint64_t *words, uint64_t i)
{
    return (words[i / 64] >> (i % 64)) & 1;
}

static uint64_t live_text_bytes(const struct ak_docs *docs, uint64_t slots, const uint64_t *live)
{
    uint64_t total = 0;
    for (uint64_t i = 0; i < slots; i++) {
        total += bit(live, i) ? text_len_of(docs, (uint32_t)i) : 0;
    }
    return total;
}

static enum ak_rc write_rows(const struct ak_slab *slab, uint32_t kind, uint64_t slots,
                             struct ak_image_writer *writer, struct ak_err *err)
{
    return ak_image_put(writer, kind, slab->stride, slots, slots ? ak_slab_base(slab) : "", err);
}

static enum ak_rc write_refs(const struct ak_docs *docs, uint64_t slots, const uint64_t *live,
                             struct ak_image_writer *writer, struct ak_err *err)
{
    uint64_t at = 0;
    enum ak_rc rc =
        ak_image_begin(writer, AK_IMAGE_DOC_TEXT_AT, sizeof(struct ak_text_ref), slots, err);
    for (uint64_t i = 0; rc == AK_OK && i < slots; i++) {
        struct ak_text_ref ref = {0};
        if (bit(live, i)) {
            ref = *ref_of(docs, (uint32_t)i);
            ref.at = at;
            at += text_len_of(docs, (uint32_t)i);
        }
        rc = ak_image_write(writer, &ref, sizeof ref, err);
    }
    return rc == AK_OK ? ak_image_end(writer, err) : rc;
}

static enum ak_rc write_text(const struct ak_docs *docs, uint64_t slots, const uint64_t *live,
                             uint64_t bytes, struct ak_image_writer *writer, struct ak_err *err)
{
    enum ak_rc rc = ak_image_begin(writer, AK_IMAGE_DOC_TEXT, 1, bytes, err);
    for (uint64_t i = 0; rc == AK_OK && i < slots; i++) {
        uint64_t len = bit(live, i) ? text_len_of(docs, (uint32_t)i) : 0;
        if (len) {
            const struct ak_text_ref *ref = ref_of(docs, (uint32_t)i);
            rc = ak_image_write(writer, ak_slab_base(&text_now(docs)->bytes) + ref->at, len, err);
        }
    }
    return rc == AK_OK ? ak_image_end(writer, err) : rc;
}

enum ak_rc ak_docs_write(const struct ak_docs *docs, uint64_t slots, const uint64_t *live,
                         uint64_t lsn, struct ak_image_writer *writer, struct ak_err *err)
{
    struct doc_state state = {
        .slots = slots, .lsn = lsn, .text_len = live_text_bytes(docs, slots, live)};
    enum ak_rc rc = AK_OK;
    if ((rc = ak_image_put(writer, AK_IMAGE_DOC_STATE, sizeof state, 1, &state, err)) ||
        (rc = write_rows(&docs->ids, AK_IMAGE_DOC_IDS, slots, writer, err)) ||
        (rc = write_rows(&docs->times, AK_IMAGE_DOC_TIMES, slots, writer, err)) ||
        (rc = write_refs(docs, slots, live, writer, err)) ||
        (rc = write_text(docs, slots, live, state.text_len, writer, err))) {
        return rc;
    }
    return AK_OK;
}

uint64_t ak_docs_image_bytes(const struct ak_docs *docs, uint64_t slots)
{
    size_t row = sizeof(struct ak_uuid) + sizeof(int64_t) + sizeof(struct ak_text_ref);
    return slots * row + docs->text_len - docs->text_dead;
}

enum ak_rc ak_docs_compact(struct ak_docs *docs, const struct ak_index *index, struct ak_err *err)
{
    if (docs->text_dead < TEXT_COMPACT_MIN || docs->text_dead < docs->text_len / 3 ||
        docs->doubled) { /* what lies in two slots would be copied twice */
        return AK_OK;
    }
    /* Readers that could still hold a dead slot leave first; later ones meet live slots only, and
     * those keep their text. */
    struct ak_doc_text *old = text_now(docs);
    struct ak_epoch *epoch = old->refs.epoch;
    struct ak_doc_text *fresh = text_open(epoch);
    enum ak_rc rc = ak_slab_reserve(&fresh->bytes, docs->text_len - docs->text_dead + 1, err);
    if (rc == AK_OK) {
        rc = ak_slab_reserve(&fresh->refs, docs->slots, err);
    }
    if (rc != AK_OK) {
        text_close(fresh);
        return rc;
    }
    ak_epoch_wait(epoch);
    uint64_t at = 0;
    for (uint32_t slot = 0; slot < docs->slots; slot++) {
        struct ak_text_ref ref = *ref_of(docs, slot);
        uint64_t len = (uint64_t)ref.external_len + ref.metadata_len;
        if (!ak_index_is_live(index, slot) || len == 0) {
            continue;
        }
        memcpy(ak_slab_base(&fresh->bytes) + at, ak_slab_base(&old->bytes) + ref.at, len);
        ref.at = at;
        at += len;
        *(struct ak_text_ref *)ak_slab_row(&fresh->refs, slot) = ref;
    }
    docs->text_len = at;
    docs->text_dead = 0;
    atomic_store_explicit(&docs->text, fresh, memory_order_release);
    ak_epoch_retire(epoch, text_close, old);
    return AK_OK;
}

size_t ak_docs_bytes(const struct ak_docs *docs)
{
    return ak_slab_bytes(&docs->ids, docs->slots) + ak_slab_bytes(&docs->times, docs->slots) +
           ak_slab_bytes(&text_now(docs)->refs, docs->slots) +
           ak_slab_bytes(&text_now(docs)->bytes, docs->text_len) + ak_map_bytes(&docs->map);
}
