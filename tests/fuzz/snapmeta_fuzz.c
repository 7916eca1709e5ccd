/* fuzz: links snapshot */
/* snapmeta_fuzz.c — the metadata object of a snapshot: what is accepted must be written and read
 * back as the same, and its keys must lie under the snapshot's own name.
 */
#include "fuzz.h"
#include "snapshot/snapshot.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ak_str text = {(const char *)data, size};
    struct ak_snapshot_meta meta;
    struct ak_snapshot_meta back;
    struct ak_arena arena;
    struct ak_buf once;
    struct ak_buf twice;
    struct ak_err err = {0};
    ak_arena_init(&arena, 0);
    ak_buf_init(&once, 0);
    ak_buf_init(&twice, 0);
    enum ak_rc rc = ak_snapshot_meta_read(text, &arena, &meta, &err);
    if (rc == AK_OK) {
        AK_ASSERT(meta.vector_count > 0 && meta.collection.dimension > 0);
        AK_ASSERT(ak_str_has_prefix(meta.data.key, AK_STR("snapshots/")));
        /* What is older than `objects` and empty has no size to write. */
        if (meta.data.bytes > 0 && ak_snapshot_meta_write(&meta, &once, &err) == AK_OK) {
            AK_ASSERT(ak_snapshot_meta_read(ak_buf_str(&once), &arena, &back, &err) == AK_OK);
            AK_ASSERT(ak_snapshot_meta_write(&back, &twice, &err) == AK_OK);
            AK_ASSERT(ak_str_eq(ak_buf_str(&once), ak_buf_str(&twice)));
        }
    } else {
        AK_ASSERT(rc == AK_CORRUPT || rc == AK_UNSUPPORTED);
        AK_ASSERT(err.rc == rc && err.text[0] != '\0');
    }
    ak_buf_release(&once);
    ak_buf_release(&twice);
    ak_arena_release(&arena);
    return 0;
}
