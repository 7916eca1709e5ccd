/* import_parquet.h — a Parquet file into a collection, through the API, which reads it. */
#pragma once
#include "cli/target.h"

struct ak_import_parquet {
    struct ak_target_options target;
    const char *collection;
    const char *file;
    const char *metric; /* NULL: cosine */
    const char *model;
    uint64_t dimension; /* with create; 0: not said */
    bool create;
};
/* *documents, *name (where to; copied) and *seconds of the call are set on success. */
AK_MUST enum ak_rc ak_import_parquet(const struct ak_import_parquet *import, uint64_t *documents,
                                     char name[AK_TARGET_URL_MAX], struct ak_err *err);
