/* objstore_dir_test.c — the dir store: the common suite. */
#include "objstore/objstore.h"
#include "support/quickfs.h"
#include "support/test.h"

#define OBJSTORE_SUITE dir
#define OBJSTORE_SUITE_ROUNDS 1000
#define OBJSTORE_SUITE_LARGE ((size_t)70 << 20)

static struct ak_objstore *suite_open(void)
{
    struct ak_err open_err;
    struct ak_objstore *store = NULL;
    char root[1024];
    (void)snprintf(root, sizeof root, "%s/objects/", ak_test_dir());
    if (ak_objstore_open_dir(ak_fs_posix(), root, &store, &open_err) != AK_OK) {
        ak_test_fail(__FILE__, __LINE__, "%s", open_err.text);
    }
    return store;
}

static void suite_close(struct ak_objstore *store)
{
    ak_objstore_close(store);
}

#include "support/objstore_suite.h"

SUITE_CAN_ALL_KEYS

TEST_MAIN()
