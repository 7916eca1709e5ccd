/* target_priv.h — the calls that a server and a folder answer each in its way. */
#pragma once
#include "cli/target.h"

struct ak_target_ops {
    void (*close)(struct ak_target *target);
    enum ak_rc (*describe)(struct ak_target *target, struct ak_str collection,
                           struct ak_arena *arena, struct ak_collection_summary *summary,
                           struct ak_err *err);
    /* One page from *cursor on (empty: the first); *cursor becomes that of the next page or empty.
     */
    enum ak_rc (*list)(struct ak_target *target, struct ak_str *cursor, struct ak_arena *arena,
                       struct ak_collection_summary **list, size_t *count, struct ak_err *err);
    enum ak_rc (*create)(struct ak_target *target, const struct ak_collection_info *spec,
                         struct ak_err *err);
    enum ak_rc (*drop)(struct ak_target *target, struct ak_str collection, struct ak_err *err);
    /* NULL: only a folder can be verified. */
    enum ak_rc (*verify)(struct ak_target *target, struct ak_str collection, struct ak_err *err);
    enum ak_rc (*search)(struct ak_target *target, const struct ak_target_query *query,
                         struct ak_arena *arena, struct ak_found **found, uint32_t *count,
                         struct ak_err *err);
    enum ak_rc (*vector)(struct ak_target *target, struct ak_str collection,
                         const struct ak_uuid *id, uint32_t dimension, struct ak_arena *arena,
                         const float **vector, struct ak_err *err);
    enum ak_rc (*import_begin)(struct ak_target *target, const struct ak_collection_info *info,
                               struct ak_err *err);
    enum ak_rc (*import_add)(struct ak_target *target, const struct ak_row *row,
                             struct ak_err *err);
    enum ak_rc (*import_flush)(struct ak_target *target, struct ak_err *err);
    enum ak_rc (*wait_linked)(struct ak_target *target, void (*progress)(void *ctx, uint64_t left),
                              void *ctx, struct ak_err *err);
};

struct ak_target {
    const struct ak_target_ops *ops;
    char *name;
    bool is_folder;
    double log_seconds;
    double index_seconds;
};

AK_MUST enum ak_rc ak_target_open_server(const char *url, struct ak_target **target,
                                         struct ak_err *err);
AK_MUST enum ak_rc ak_target_open_folder(const char *dir, const struct ak_config *config,
                                         bool may_make, struct ak_target **target,
                                         struct ak_err *err);
