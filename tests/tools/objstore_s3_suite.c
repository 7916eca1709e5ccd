/* objstore_s3_suite.c — the suite of every object store, over the S3 server that AKIDB_S3_* name:
 * ENDPOINT, BUCKET, REGION, ACCESS_KEY_ID, SECRET_ACCESS_KEY and, for what it cannot, SERVER:
 * versitygw (keys are paths: none may be another's folder) and MinIO (what is below another's name
 * is kept and not listed) want parts of at most 255 bytes.
 * tests/integration/test_objstore_s3.py runs it over each server.
 */
#include "objstore/s3.h"
#include "support/test.h"
#include <stdlib.h>

#define PREFIX "suite/"
#define OBJSTORE_SUITE s3
#define OBJSTORE_SUITE_ROUNDS 150
#define OBJSTORE_SUITE_LARGE ((size_t)70 << 20)

static const char *setting(const char *name)
{
    const char *value = getenv(name);
    if (!value || !value[0]) {
        ak_test_fail(__FILE__, __LINE__, "%s is not set: run tests/integration/s3_servers.py start",
                     name);
    }
    return value;
}

static struct ak_objstore *suite_open(void)
{
    struct ak_err open_err;
    struct ak_objstore *store = NULL;
    struct ak_s3_options options = {
        .endpoint = setting("AKIDB_S3_ENDPOINT"),
        .bucket = setting("AKIDB_S3_BUCKET"),
        .region = setting("AKIDB_S3_REGION"),
        .access_key_id = setting("AKIDB_S3_ACCESS_KEY_ID"),
        .secret_access_key = setting("AKIDB_S3_SECRET_ACCESS_KEY"),
        .prefix = PREFIX,
    };
    if (ak_objstore_open_s3(&options, false, &store, &open_err) != AK_OK) {
        ak_test_fail(__FILE__, __LINE__, "%s", open_err.text);
    }
    return store;
}

static void suite_close(struct ak_objstore *store)
{
    ak_objstore_close(store);
}

#include "support/objstore_suite.h"

static bool is_server(const char *name)
{
    return strcmp(setting("AKIDB_S3_SERVER"), name) == 0;
}

static enum suite_clash suite_clash(void)
{
    return is_server("versitygw") ? SUITE_CLASH_REFUSED
           : is_server("minio")   ? SUITE_CLASH_NOT_LISTED
                                  : SUITE_CLASH_FINE;
}

static size_t suite_part_max(void)
{
    return is_server("versitygw") || is_server("minio") ? 255 : AK_OBJSTORE_KEY_MAX - 100;
}

static size_t suite_key_max(void)
{
    return AK_OBJSTORE_KEY_MAX - strlen(PREFIX);
}

TEST_MAIN()
