/* hnsw_check.c — every invariant of hnsw.c held against the index as it is. Nobody else may write.
 */
#include "base/hash.h"
#include "index/index_priv.h"

struct check {
    const struct ak_index *index;
    uint64_t slots;
    uint64_t *pending; /* bitmap */
    uint64_t links;    /* of live linked rows at level 0 */
    uint64_t rows;     /* such rows */
};

#define BROKEN(err, name, slot, fmt, ...)                                                          \
    ak_fail(err, AK_CORRUPT, name " is broken at slot %u: " fmt, slot, __VA_ARGS__)

static bool is(const struct ak_slab *bits, uint32_t slot)
{
    return ak_bits_test(ak_index_words(bits), slot);
}

static enum ak_rc check_states(struct check *check, struct ak_index_report *report,
                               struct ak_err *err)
{
    const struct ak_index *index = check->index;
    uint64_t linked_count = 0;
    for (uint32_t slot = 0; slot < check->slots; slot++) {
        bool dead = is(&index->dead, slot);
        bool linked = is(&index->linked, slot);
        bool unlinked = is(&index->unlinked, slot);
        bool pending = check->pending[slot / 64] >> (slot % 64) & 1;
        if (linked + unlinked + pending > 1 || (!dead && unlinked) ||
            (!linked && !unlinked && !pending && !dead)) {
            return BROKEN(err, "I2", slot, "dead %d, linked %d, unlinked %d, pending %d", dead,
                          linked, unlinked, pending);
        }
        report->live += !dead;
        report->tombstones += dead && !unlinked;
        report->free_slots += unlinked;
        report->pending += pending;
        linked_count += linked;
    }
    if (report->live != ak_index_live(index) || report->tombstones != ak_index_tombstones(index) ||
        report->free_slots != atomic_load(&index->unlinked_count) ||
        linked_count != atomic_load(&index->linked_count)) {
        return ak_fail(err, AK_CORRUPT, "I1 is broken: the counts are not those of the bitmaps");
    }
    return AK_OK;
}

static enum ak_rc check_row(struct check *check, uint32_t slot, uint32_t level, struct ak_err *err)
{
    const struct ak_index *index = check->index;
    uint32_t degree = ak_index_degree(index, level);
    const uint32_t *row = ak_index_row(index, slot, level);
    bool ended = false;
    for (uint32_t i = 0; i < degree; i++) {
        uint32_t link = ak_link_get(&row[i]);
        if (link == AK_LINK_NONE) {
            ended = true;
            continue;
        }
        if (ended) {
            return BROKEN(err, "I4", slot, "level %u, a link after an empty place", level);
        }
        if (link >= check->slots || link == slot || !is(&index->linked, link)) {
            return BROKEN(err, "I3", slot, "level %u leads to %u", level, link);
        }
        if (ak_index_level(index, link) < level) {
            return BROKEN(err, "I5", slot, "level %u leads to %u, which is not there", level, link);
        }
        for (uint32_t j = 0; j < i; j++) {
            if (ak_link_get(&row[j]) == link) {
                return BROKEN(err, "I4", slot, "level %u leads to %u twice", level, link);
            }
        }
        check->links += level == 0 && !is(&index->dead, slot);
    }
    return AK_OK;
}

static enum ak_rc check_links(struct check *check, struct ak_err *err)
{
    const struct ak_index *index = check->index;
    for (uint32_t slot = 0; slot < check->slots; slot++) {
        if (!is(&index->linked, slot)) {
            continue;
        }
        uint32_t top = ak_index_level(index, slot);
        for (uint32_t level = 0; level <= top; level++) {
            enum ak_rc rc = check_row(check, slot, level, err);
            if (rc != AK_OK) {
                return rc;
            }
        }
        check->rows += !is(&index->dead, slot);
    }
    return AK_OK;
}

static enum ak_rc check_entry(const struct check *check, struct ak_err *err)
{
    const struct ak_index *index = check->index;
    uint64_t entry = atomic_load(&index->entry);
    if (entry == AK_ENTRY_NONE || atomic_load(&index->linked_count) == 0) {
        bool both = entry == AK_ENTRY_NONE && atomic_load(&index->linked_count) == 0;
        return both ? AK_OK : ak_fail(err, AK_CORRUPT, "I6 is broken: no entry point, or no rows");
    }
    uint32_t at = ak_entry_slot(entry);
    if (at >= check->slots || !is(&index->linked, at) ||
        ak_index_level(index, at) != ak_entry_level(entry)) {
        return BROKEN(err, "I6", at, "the entry point is not linked or not on level %u",
                      ak_entry_level(entry));
    }
    for (uint32_t slot = 0; slot < check->slots; slot++) {
        if (is(&index->linked, slot) && !is(&index->dead, slot) &&
            ak_index_level(index, slot) > ak_entry_level(entry)) {
            return BROKEN(err, "I6", slot, "its level is above the entry point's, %u",
                          ak_entry_level(entry));
        }
    }
    return AK_OK;
}

static enum ak_rc check_scales(const struct check *check, struct ak_err *err)
{
    const struct ak_index *index = check->index;
    for (uint32_t slot = 0; index->has_scales && slot < check->slots; slot++) {
        if (is(&index->unlinked, slot)) {
            continue;
        }
        double scale = (double)*(const float *)ak_slab_row(&index->scales, slot);
        double norm = ak_f32_norm(ak_slab_row(&index->vectors, slot), index->options.dimension);
        double want = norm > 0.0 ? 1.0 / norm : 0.0;
        if (fabs(scale - want) > 1e-5 * want && want < (double)FLT_MAX) {
            return BROKEN(err, "I7", slot, "its scale is %g, not %g", scale, want);
        }
    }
    return AK_OK;
}

static enum ak_rc count_unreachable(const struct check *check, struct ak_index_report *report,
                                    struct ak_err *err)
{
    const struct ak_index *index = check->index;
    uint64_t entry = atomic_load(&index->entry);
    if (entry == AK_ENTRY_NONE) {
        return AK_OK;
    }
    struct ak_reach reach;
    bool ready = ak_reach_init(&reach, check->slots);
    if (ready) {
        ak_reach_from(&reach, ak_entry_slot(entry));
        (void)ak_reach_step(index, &reach, UINT64_MAX);
        for (uint32_t slot = 0; slot < check->slots; slot++) {
            report->unreachable += is(&index->linked, slot) && !is(&index->dead, slot) &&
                                   !(reach.seen[slot / 64] >> (slot % 64) & 1);
        }
    }
    ak_reach_release(&reach);
    return ready ? AK_OK : ak_fail(err, AK_NOMEM, "check of an index");
}

/* The pending list as a bitmap; a slot that is there twice breaks I2. */
static enum ak_rc map_pending(struct check *check, struct ak_err *err)
{
    struct ak_pending *pending = (struct ak_pending *)(uintptr_t)&check->index->pending;
    uint64_t max = atomic_load(&pending->count);
    uint32_t *list = ak_try_alloc((max + 1) * sizeof *list);
    if (!list) {
        return ak_fail(err, AK_NOMEM, "check of an index");
    }
    enum ak_rc rc = AK_OK;
    uint64_t count = ak_pending_list(pending, list, max + 1);
    if (count != max) {
        rc = ak_fail(err, AK_CORRUPT, "I1 is broken: %llu rows pending, %llu in the list",
                     (unsigned long long)max, (unsigned long long)count);
    }
    for (uint64_t i = 0; i < count && rc == AK_OK; i++) {
        uint64_t bit = (uint64_t)1 << (list[i] % 64);
        if (list[i] >= check->slots || (check->pending[list[i] / 64] & bit)) {
            rc = BROKEN(err, "I2", list[i], "place %llu of the pending list names it again",
                        (unsigned long long)i);
        } else {
            check->pending[list[i] / 64] |= bit;
        }
    }
    ak_free(list);
    return rc;
}

static enum ak_rc check_index(const struct ak_index *index, bool with_codes,
                              struct ak_index_report *report, struct ak_err *err)
{
    struct check check = {.index = index, .slots = ak_index_slots(index)};
    struct ak_index_report found = {0};
    check.pending = ak_try_zalloc((ak_bits_words(check.slots) + 1) * sizeof *check.pending);
    enum ak_rc rc =
        check.pending ? map_pending(&check, err) : ak_fail(err, AK_NOMEM, "check of an index");
    if (rc == AK_OK) {
        rc = check_states(&check, &found, err);
    }
    if (rc == AK_OK) {
        rc = check_links(&check, err);
    }
    if (rc == AK_OK) {
        rc = check_entry(&check, err);
    }
    if (rc == AK_OK) {
        rc = check_scales(&check, err);
    }
    if (rc == AK_OK && with_codes) {
        rc = ak_codes_check(index, err);
    }
    if (rc == AK_OK) {
        rc = count_unreachable(&check, &found, err);
    }
    ak_free(check.pending);
    if (rc == AK_OK && report) {
        found.mean_degree = check.rows ? (double)check.links / (double)check.rows : 0.0;
        *report = found;
    }
    return rc;
}

enum ak_rc ak_index_check(const struct ak_index *index, struct ak_index_report *report,
                          struct ak_err *err)
{
    return check_index(index, true, report, err);
}

enum ak_rc ak_index_check_graph(const struct ak_index *index, struct ak_index_report *report,
                                struct ak_err *err)
{
    return check_index(index, false, report, err);
}
