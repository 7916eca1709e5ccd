/* target.h — where a command works: a server (over HTTP) or a data folder (opened in this process).
 *
 * Threads: one. Memory: results live in the caller's arena; the name belongs to the target.
 */
#pragma once
#include "cli/config.h"
#include "cli/rows.h"
#include "engine/engine.h"

struct ak_target;

struct ak_target_options {
    const char *url; /* the server, or */
    const char
        *dir; /* the folder, or NULL both: $AKIDB_URL, else the server of the configuration */
    const struct ak_config *config;
    bool may_make; /* the folder is made when it does not exist */
};

#define AK_TARGET_URL_MAX 1024
/* The server that is meant when no folder is. */
void ak_target_url(const struct ak_target_options *options, char url[AK_TARGET_URL_MAX]);
/* AK_NOT_FOUND: no such folder; AK_CONFLICT: a server has it. */
AK_MUST enum ak_rc ak_target_open(const struct ak_target_options *options,
                                  struct ak_target **target, struct ak_err *err);
/* Of a folder: checkpoint and close. NULL is fine. */
void ak_target_close(struct ak_target *target);
const char *ak_target_name(const struct ak_target *target); /* "http://…" or the folder */
bool ak_target_is_folder(const struct ak_target *target);

AK_MUST enum ak_rc ak_target_describe(struct ak_target *target, struct ak_str collection,
                                      struct ak_arena *arena, struct ak_collection_summary *summary,
                                      struct ak_err *err);
/* All of them, by name. */
AK_MUST enum ak_rc ak_target_list(struct ak_target *target, struct ak_arena *arena,
                                  struct ak_collection_summary **list, size_t *count,
                                  struct ak_err *err);
AK_MUST enum ak_rc ak_target_create(struct ak_target *target, const struct ak_collection_info *spec,
                                    struct ak_err *err);
AK_MUST enum ak_rc ak_target_drop(struct ak_target *target, struct ak_str collection,
                                  struct ak_err *err);
/* Graph, documents and checksums of one collection of a folder: AK_CORRUPT names what is wrong.
 * AK_UNSUPPORTED for a server. */
AK_MUST enum ak_rc ak_target_verify(struct ak_target *target, struct ak_str collection,
                                    struct ak_err *err);

struct ak_target_query {
    struct ak_str collection;
    const float *vector;
    uint32_t dimension;
    uint32_t k;
    uint32_t ef;          /* 0: what `recall` needs, or the collection's */
    double recall;        /* 0, or a share up to 1 */
    struct ak_str filter; /* JSON, or empty */
    bool exact;
};
/* external_id and metadata are included. */
AK_MUST enum ak_rc ak_target_search(struct ak_target *target, const struct ak_target_query *query,
                                    struct ak_arena *arena, struct ak_found **found,
                                    uint32_t *count, struct ak_err *err);
/* The vector of one document: f32[dimension] in the arena. AK_NOT_FOUND. */
AK_MUST enum ak_rc ak_target_vector(struct ak_target *target, struct ak_str collection,
                                    const struct ak_uuid *id, uint32_t dimension,
                                    struct ak_arena *arena, const float **vector,
                                    struct ak_err *err);

/* --- Import: add rows, flush at the end --- */

/* Begin with a collection that exists. Does the target want vectors as numbers? */
bool ak_target_wants_floats(const struct ak_target *target);
AK_MUST enum ak_rc ak_target_import_begin(struct ak_target *target,
                                          const struct ak_collection_info *info,
                                          struct ak_err *err);
/* Batches are written as they fill. */
AK_MUST enum ak_rc ak_target_import_add(struct ak_target *target, const struct ak_row *row,
                                        struct ak_err *err);
/* Everything added is written and durable. */
AK_MUST enum ak_rc ak_target_import_flush(struct ak_target *target, struct ak_err *err);
/* Seconds that went into writing (log) and into helping to link (index) so far. */
void ak_target_import_times(const struct ak_target *target, double *log_seconds,
                            double *index_seconds);
/* Wait until all rows are linked; `progress` hears how many are left. */
AK_MUST enum ak_rc ak_target_wait_linked(struct ak_target *target,
                                         void (*progress)(void *ctx, uint64_t left), void *ctx,
                                         struct ak_err *err);
