/* cold.c — WARM → COLD: the image leaves this machine, its state stays in a snapshot.
 *
 * In order; [name] is a crash point. The snapshot is in the store already (archive/tier.c):
 *   1. quiet    the writer lock of the live collection is taken, and nobody changes its tier
 *   2. check    it is WARM, `snapshot` covers the present image, and nothing was written since
 *   3. commit   one catalog transaction: tier = COLD, the tiny image goes, the job's step
 *                              [tier_cold_before_commit] [tier_cold_after_commit] ← commit point
 *   4. swap     the directory's place gets a new entry; the old one counts as dropped
 *   5. clean-up the image file goes, or with the last hold on it          [tier_cold_after_remove]
 *
 * A crash before 3 leaves it WARM; after 3 COLD, and at most its file as garbage (I4 of
 * checkpoint.c). All under keeper.work, as checkpoints, drops and adoptions are.
 *
 * C1  Under the writer lock no record is between log and memory, and is_written says that none
 *     came since the image: nothing is in the log that replay would miss a collection for. Links
 *     made since the image are lost: they are made again when it is back.
 * C2  References from before go on reading: their mapping outlives the file's name. Their writes
 *     fail with AK_COLD (went_cold), as every open does from 4 on.
 * C3  The generation is never used twice: an image that is adopted later gets the next one, so
 *     neither a hold nor a crash can take the two for each other.
 * C4  When the catalog's sync fails in 3, nobody knows what the next start will find: the file
 *     stays, and the collection refuses writes until then (A4 of adopt.c). A start that finds it
 *     COLD removes the file; one that finds it WARM uses it.
 */
#include "base/fault.h"
#include "base/mem.h"
#include "engine/engine_priv.h"
#include "engine/tiering.h"

/* 2, under the locks of 1. */
static enum ak_rc check(struct ak_engine *engine, const struct ak_replacement *swap,
                        const struct ak_uuid *snapshot, struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    const struct ak_entry *entry = swap->old;
    ak_mutex_lock(&dir->lock);
    bool is_warm = entry->tier.tier == AK_TIER_WARM;
    bool is_covered = !entry->is_written && entry->checkpoint.generation &&
                      entry->tier.cover_generation == entry->checkpoint.generation &&
                      ak_uuid_eq(&entry->tier.cover, snapshot);
    ak_mutex_unlock(&dir->lock);
    if (entry->in_doubt) {
        return ak_fail(err, AK_IO, "it stays where it is: restart the server");
    }
    return is_warm && is_covered
               ? AK_OK
               : ak_fail(err, AK_CONFLICT, "%s",
                         is_warm ? "it has changed since the snapshot" : "it is not warm");
}

static enum ak_rc commit(struct ak_engine *engine, const struct ak_catalog_row *row,
                         const struct ak_uuid *job, uint32_t job_step, struct ak_err *err)
{
    struct ak_catalog_tier_change change = {row->info.id, row->tier};
    ak_crash_point("tier_cold_before_commit");
    enum ak_rc rc = ak_catalog_tiers(engine->catalog, &change, 1, job, job_step, err);
    if (rc == AK_OK) {
        ak_crash_point("tier_cold_after_commit");
    }
    return rc;
}

static enum ak_rc sink(struct ak_engine *engine, struct ak_catalog_row *row,
                       const struct ak_uuid *snapshot, const struct ak_uuid *job, uint32_t job_step,
                       struct ak_err *err)
{
    struct ak_replacement swap = {0};
    if (ak_catalog_is_failed(engine->catalog)) { /* I6 of checkpoint.c */
        return ak_fail(err, AK_IO, "the catalog has failed: restart the server");
    }
    enum ak_rc rc = ak_replace_begin(engine, row, &swap, err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = ak_directory_make(row, &swap.fresh, err);
    ak_replace_lock(engine, row, &swap);
    if (rc == AK_OK) {
        rc = check(engine, &swap, snapshot, err);
    }
    row->tier.tier = AK_TIER_COLD;
    row->tier.since_us = ak_now_us(engine->clock);
    if (rc == AK_OK) {
        rc = commit(engine, row, job, job_step, err);
    }
    if (rc == AK_OK) {
        swap.old->went_cold = true;
    }
    ak_replace_end(engine, &swap, row, rc, NULL);
    if (rc == AK_OK) {
        ak_collection_bury(engine);
        ak_hold_remove_image(engine, &row->info.id, &row->checkpoint);
        ak_crash_point("tier_cold_after_remove");
    }
    return rc;
}

enum ak_rc ak_engine_tier_cold(struct ak_engine *engine, const struct ak_uuid *id,
                               const struct ak_uuid *snapshot, const struct ak_uuid *job,
                               uint32_t job_step, struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    struct ak_catalog_row row = {.info.id = *id};
    ak_mutex_lock(&dir->lock);
    struct ak_entry *entry = ak_directory_find_id(dir, id);
    enum ak_rc rc = entry ? ak_tier_begin_move(entry, err)
                          : ak_fail(err, AK_NOT_FOUND, "the collection has been dropped");
    ak_mutex_unlock(&dir->lock);
    if (rc != AK_OK) {
        return rc;
    }
    ak_mutex_lock(&engine->keeper.work);
    rc = sink(engine, &row, snapshot, job, job_step, err);
    ak_mutex_unlock(&engine->keeper.work);
    ak_tier_end_move(engine, id);
    return rc;
}
