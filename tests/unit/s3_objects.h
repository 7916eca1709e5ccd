/* s3_objects.h — small objects in the S3 store over the fake: what its tests put and look at. */
#pragma once
#include "support/s3_fake.h"

static inline enum ak_rc put(struct ak_objstore *store, const char *key, const char *text,
                             struct ak_err *err)
{
    return ak_objstore_put(store, ak_str_of(key), ak_str_of(text), NULL, err);
}

static inline enum ak_rc put_new(struct ak_objstore *store, const char *key, const char *text,
                                 struct ak_err *err)
{
    const struct ak_objstore_put_options options = {.only_if_absent = true};
    return ak_objstore_put(store, ak_str_of(key), ak_str_of(text), &options, err);
}

static inline void check_object(struct ak_objstore *store, const char *key, const char *want)
{
    struct ak_err err;
    struct ak_buf out;
    ak_buf_init(&out, 0);
    CHECK_OK(ak_objstore_get(store, ak_str_of(key), &out, &err));
    CHECK_STR(ak_buf_cstr(&out), want);
    ak_buf_release(&out);
}

static inline unsigned logged(const char *what)
{
    unsigned count = 0;
    const char *at = ak_buf_cstr(&fake.log);
    while ((at = strstr(at, what)) != NULL) {
        count++;
        at += strlen(what);
    }
    return count;
}
