/* hold.h — one state of a collection held fast for a snapshot, and the way back: adopting an image.
 *
 * A hold is the collection's newest image, written first when the collection has changed, and kept
 * from the checkpoints that follow until it is let go: nothing is copied, and writers do not wait.
 *
 * Threads: ak_engine_hold and ak_engine_adopt from any thread; a hold's reads from any thread.
 */
#pragma once
#include "engine/engine.h"

struct ak_hold;

/* Checkpoint when dirty, then hold the image. AK_NOT_FOUND. */
AK_MUST enum ak_rc ak_engine_hold(struct ak_engine *engine, struct ak_str name_or_id,
                                  struct ak_hold **hold, struct ak_err *err);
void ak_hold_release(
    struct ak_hold *hold); /* the image goes if it is no longer current; NULL is fine */

const struct ak_collection_info *ak_hold_info(const struct ak_hold *hold);
uint64_t
ak_hold_lsn(const struct ak_hold *hold); /* everything logged for it below is in the state */
uint64_t ak_hold_rows(const struct ak_hold *hold); /* live documents */
/* Documents [from, from + count) in a fixed order; views valid until release. */
AK_MUST enum ak_rc ak_hold_read(struct ak_hold *hold, uint64_t from, size_t count,
                                struct ak_document *docs, struct ak_err *err);
/* The image as a file that stays unchanged until release, or NULL when it is a blob. */
const char *ak_hold_image_path(const struct ak_hold *hold);
struct ak_str ak_hold_image_blob(const struct ak_hold *hold); /* empty when it is a file */

/* A name in the data folder for an image that is being fetched: on the same file system, and
 * removed by the next open if it was not adopted. */
void ak_engine_staging_path(const struct ak_engine *engine, const struct ak_uuid *id, char *path,
                            size_t size);
/* Take the image file at `path` (of ak_engine_staging_path; checked in full here: AK_CORRUPT, and
 * dimension, metric and index parameters held against `info`) as the state of a collection, at one
 * instant and durably. `path` is moved.
 * replace false: a new collection with info's name, dimension, metric, model and index (AK_EXISTS).
 * replace true: the state of the existing collection info->id, whose present documents and log are
 * superseded; references held elsewhere see AK_NOT_FOUND on their next write. *adopted gets the
 * collection as it is then (may be NULL). */
struct ak_engine_adopt_options {
    bool replace;
    uint64_t documents; /* that the image must hold */
};
AK_MUST enum ak_rc ak_engine_adopt(struct ak_engine *engine, const struct ak_collection_info *info,
                                   const char *path, const struct ak_engine_adopt_options *options,
                                   struct ak_collection_info *adopted, struct ak_err *err);
