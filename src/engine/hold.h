/* hold.h — one state of a collection held fast for a snapshot, and the way back: adopting an image.
 *
 * A hold is the collection's newest image, written first when the collection has changed, and kept
 * from the checkpoints that follow until it is let go: nothing is copied, and writers do not wait.
 *
 * Threads: ak_engine_hold and ak_engine_adopt from any thread; a hold's reads from any thread. An
 * image builder belongs to one thread. Holds are released and builders ended before the engine
 * closes.
 */
#pragma once
#include "catalog/catalog.h"
#include "engine/engine.h"

struct ak_hold;

/* Checkpoint when dirty, then hold the image, whose checksums are verified unless it is the one
 * just written. AK_NOT_FOUND; AK_COLD; AK_CORRUPT. */
AK_MUST enum ak_rc ak_engine_hold(struct ak_engine *engine, struct ak_str name_or_id,
                                  struct ak_hold **hold, struct ak_err *err);
void ak_hold_release(
    struct ak_hold *hold); /* the image goes if it is no longer current; NULL is fine */

/* Were its checksums verified? Who keeps an image that was written just now does so, beside other
 * work. */
bool ak_hold_is_checked(const struct ak_hold *hold);
const struct ak_collection_info *ak_hold_info(const struct ak_hold *hold);
uint64_t
ak_hold_lsn(const struct ak_hold *hold); /* everything logged for it below is in the state */
uint64_t ak_hold_rows(const struct ak_hold *hold);       /* live documents */
uint64_t ak_hold_generation(const struct ak_hold *hold); /* of the image; 0: never had one */
/* Documents [from, from + count) in a fixed order; views valid until release. */
AK_MUST enum ak_rc ak_hold_read(struct ak_hold *hold, uint64_t from, size_t count,
                                struct ak_document *docs, struct ak_err *err);
/* The reader is done with the documents before `row`: what they have mapped is given back to the
 * system. Advice: views stay valid. Without it a reader comes to have the whole image mapped. */
void ak_hold_passed(struct ak_hold *hold, uint64_t row);
/* The image as a file that stays unchanged until release, or NULL when it is a blob. */
const char *ak_hold_image_path(const struct ak_hold *hold);
struct ak_str ak_hold_image_blob(const struct ak_hold *hold); /* empty when it is a file */

/* A name in the data folder for an image that is being fetched: on the same file system, and
 * removed by the next open if it was not adopted. */
void ak_engine_staging_path(const struct ak_engine *engine, const struct ak_uuid *id, char *path,
                            size_t size);
/* Take the image file at `path` (of ak_engine_staging_path; checked in full here: AK_CORRUPT, and
 * dimension, metric and index parameters held against `info`) as the state of a collection, at one
 * instant and durably. `path` is taken, also on failure.
 * replace false: a new collection with info's name, dimension, metric, model and index, and its id
 * unless nil (AK_EXISTS).
 * replace true: the state of the existing collection info->id, whose present documents and log are
 * superseded; references held elsewhere see AK_NOT_FOUND on their next write. *adopted gets the
 * collection as it is then (may be NULL), strings borrowed as those of ak_engine_create. */
struct ak_engine_adopt_options {
    bool replace;
    uint64_t documents; /* that the image must hold */
    /* A job (catalog.h) whose row is at `job_step` from the instant of the adoption; may be NULL.
     * So its owner knows after a crash whether the adoption took place. */
    const struct ak_uuid *job;
    uint32_t job_step;
    /* The image is that of this snapshot, which therefore covers the adopted state (tiering.h); may
     * be NULL. */
    const struct ak_uuid *cover;
    /* Replace only a collection that is COLD and lives in this snapshot (else AK_CONFLICT); NULL:
     * any. */
    const struct ak_uuid *only_cold;
    /* Asked once the image was found whole, before anything is changed: what the caller looks at
     * beside that. A failure is the adoption's. May be NULL. */
    enum ak_rc (*confirm)(void *ctx, struct ak_err *err);
    void *ctx;
};
/* Its tier: WARM when it is new or was COLD, else what it was. */
AK_MUST enum ak_rc ak_engine_adopt(struct ak_engine *engine, const struct ak_collection_info *info,
                                   const char *path, const struct ak_engine_adopt_options *options,
                                   struct ak_collection_info *adopted, struct ak_err *err);

/* An image built from documents, outside of any collection: for what comes without an image. Takes
 * the memory of the collection that it will be, and shows in no list. */
struct ak_image_builder;
AK_MUST enum ak_rc ak_image_builder_open(struct ak_engine *engine,
                                         const struct ak_collection_info *info,
                                         struct ak_image_builder **builder, struct ak_err *err);
/* Documents with id and inserted_us set. AK_INVALID names the row; AK_EXISTS: an id came twice. */
AK_MUST enum ak_rc ak_image_builder_add(struct ak_image_builder *builder,
                                        const struct ak_document *docs, size_t count,
                                        struct ak_err *err);
/* Link what was added, on as many threads as the engine builds with, and write the image to `path`,
 * synced. `progress` (may be NULL) is told how many rows are left to link; false: stop (AK_CONFLICT
 * "cancelled"). Frees the builder, also on failure, after which nothing is at `path`. */
AK_MUST enum ak_rc ak_image_builder_commit(struct ak_image_builder *builder, const char *path,
                                           bool (*progress)(void *ctx, uint64_t left), void *ctx,
                                           uint64_t *documents, struct ak_err *err);
void ak_image_builder_abort(struct ak_image_builder *builder); /* NULL is fine */

/* What floors above keep jobs and files with; the engine's, valid until it closes. */
struct ak_catalog *ak_engine_catalog(struct ak_engine *engine);
struct ak_fs *ak_engine_fs(struct ak_engine *engine);
