/* tiering.h — moving a collection between memory, disk and object store; what is known of its use.
 *
 * Mechanics only: when and why is decided above (tier/policy.h). Each move has one commit point, a
 * transaction of the catalog, and can be killed at any instruction; the order of its steps is at
 * the top of tiering.c and cold.c. Searches go on during every move; a write during a move is kept
 * and, where it contradicts the move, makes it fail with AK_CONFLICT, with nothing changed.
 *
 *   HOT   rows are in the process's own memory. After a restart, and when it was opened again, a
 *         HOT collection is read where its image lies until ak_engine_tier_hot() loads it.
 *   WARM  rows are read where the image lies; the collection is closed when nobody uses it. A write
 *         makes it HOT at once.
 *   COLD  no image is here: every use fails with AK_COLD until an image is adopted (hold.h,
 *         `only_cold`). It exists for lists and descriptions and can be dropped.
 *
 * Cover: the snapshot that keeps the state of the present image, lossless and with that image. A
 * collection is covered when it has one and nothing was written since.
 *
 * Accesses: every ak_engine_get() counts, in memory, at the price of a clock reading; the count
 * starts at 0 with the process, the time of the last access is kept by ak_engine_tier_flush().
 *
 * Threads: any call from any thread. A call may take as long as writing or reading the image.
 */
#pragma once
#include "engine/engine.h"
#include "model/tier.h"

struct ak_tier_view {
    struct ak_uuid id;
    enum ak_tier tier;
    bool pinned;
    bool is_open;
    bool is_loaded;       /* open, and its rows are in memory of its own: no image is mapped */
    bool is_dirty;        /* written since its image was */
    bool is_covered;      /* `cover` keeps the present state: COLD needs no other snapshot */
    bool is_moving;       /* a call of this header is moving it */
    struct ak_uuid cover; /* nil: none */
    int64_t created_us;
    int64_t since_us;       /* in its tier since */
    int64_t last_access_us; /* 0: never */
    uint32_t accesses;      /* since the process started; wraps */
    /* As last given to ak_engine_tier_flush(), also in a former life. */
    int64_t window_from_us;
    uint32_t window_accesses;
    struct ak_tier_overrides rules;
    uint64_t documents;
    uint64_t memory_bytes; /* of its own, at present */
    uint64_t ram_bytes;    /* what it takes when it is hot */
    uint64_t disk_bytes;   /* of its image here; of a COLD one: what its image will take again */
};

/* One collection, without opening it and without counting. AK_NOT_FOUND. */
AK_MUST enum ak_rc ak_engine_tier(struct ak_engine *engine, struct ak_str name_or_id,
                                  struct ak_tier_view *view, struct ak_err *err);
/* All of them, a piece at a time, in no order: *at is 0 to begin with; returns how many of `cap`
 * were filled, 0 at the end. What comes or goes meanwhile may be met or not. Times that lie ahead
 * of the clock, which was set back, become now. */
size_t ak_engine_tier_scan(struct ak_engine *engine, uint32_t *at, struct ak_tier_view *views,
                           size_t cap);

struct ak_tier_usage {
    uint64_t collections[AK_TIER_COUNT];
    uint64_t memory_bytes[AK_TIER_COUNT]; /* of their own, at present */
    uint64_t disk_bytes[AK_TIER_COUNT];   /* images here; of COLD ones: in the store */
    uint64_t resident_bytes;              /* of the process; 0: the system does not tell */
};
/* Sums over all; a millisecond for 100,000 collections. */
void ak_engine_tier_usage(struct ak_engine *engine, struct ak_tier_usage *usage);

/* --- Moves --- */

/* HOT → WARM: link what is pending, write the image when there is something to write, commit; its
 * memory goes back to the system when the last reference does. No-op when it is WARM. AK_CONFLICT:
 * it was written meanwhile and stays HOT; AK_COLD. */
AK_MUST enum ak_rc ak_engine_tier_warm(struct ak_engine *engine, struct ak_str name_or_id,
                                       struct ak_err *err);
/* WARM → HOT, and HOT that is read from its image: into memory of its own; then the image is not
 * mapped any more. No-op when it is loaded. AK_NOMEM: it stays as it was; AK_COLD. */
AK_MUST enum ak_rc ak_engine_tier_hot(struct ak_engine *engine, struct ak_str name_or_id,
                                      struct ak_err *err);
/* WARM → COLD: commit, when `snapshot` is its cover and nothing was written since (else
 * AK_CONFLICT); then its image goes. The caller made sure that the snapshot is in the store and
 * stays. `job` (may be NULL): a row of the catalog that is at `job_step` from the instant of the
 * commit. */
AK_MUST enum ak_rc ak_engine_tier_cold(struct ak_engine *engine, const struct ak_uuid *id,
                                       const struct ak_uuid *snapshot, const struct ak_uuid *job,
                                       uint32_t job_step, struct ak_err *err);
/* COLD → WARM is an adoption: ak_engine_adopt() with `only_cold`: ak_archive_wake(). */

/* --- What a collection is told. Durable on return; AK_NOT_FOUND. --- */

AK_MUST enum ak_rc ak_engine_tier_pin(struct ak_engine *engine, struct ak_str name_or_id,
                                      bool pinned, struct ak_err *err);
/* `over` replaces what was set before. AK_INVALID. */
AK_MUST enum ak_rc ak_engine_tier_rules(struct ak_engine *engine, struct ak_str name_or_id,
                                        const struct ak_tier_overrides *over, struct ak_err *err);

/* --- Memory of use --- */

struct ak_tier_note {
    struct ak_uuid id;
    int64_t window_from_us;
    uint32_t window_accesses;
};
/* Keep these, the last accesses of these collections, and every tier that a write has changed, in
 * few transactions. Collections that are gone are skipped. */
AK_MUST enum ak_rc ak_engine_tier_flush(struct ak_engine *engine, const struct ak_tier_note *notes,
                                        size_t count, struct ak_err *err);

/* --- For the archive: what the catalog says already is entered in memory --- */

/* A snapshot keeps the state of image generation `generation` (ak_catalog_job_put, `made`). */
void ak_engine_tier_covered(struct ak_engine *engine, const struct ak_uuid *id,
                            const struct ak_uuid *snapshot, uint64_t generation);
/* That snapshot is about to go. AK_CONFLICT: the collection is COLD and lives in it. */
AK_MUST enum ak_rc ak_engine_tier_uncover(struct ak_engine *engine, const struct ak_uuid *id,
                                          const struct ak_uuid *snapshot, struct ak_err *err);
