/* serve_shared.c — configuration to engine options, and the PORT file. */
#include "base/file.h"
#include "cli/serve.h"
#include <stdio.h>

#define PATH_MAX_BYTES 4200

void ak_serve_engine_options(const struct ak_config *config, struct ak_engine_options *options)
{
    _Static_assert(AK_DURABILITY_SYNC == 0 && AK_DURABILITY_INTERVAL == 1 &&
                       AK_DURABILITY_ASYNC == 2,
                   "config.def lists the words of wal.durability in this order");
    *options = (struct ak_engine_options){
        .dir = config->data_dir,
        .durability = (enum ak_durability)config->wal_durability,
        .sync_interval_ms = (uint32_t)config->wal_interval_ms,
        .wal_segment_bytes = config->wal_segment_bytes,
        .wal_max_bytes = config->wal_max_bytes,
        .checkpoint_bytes = config->checkpoint_bytes,
        .pending_max_bytes = config->index_pending_max_bytes,
        .idle_bytes = config->memory_idle_bytes,
        .build_threads = (unsigned)config->index_build_threads,
    };
}

static bool port_path(const char *dir, char path[PATH_MAX_BYTES])
{
    int len = snprintf(path, PATH_MAX_BYTES, "%s/PORT", dir);
    return len > 0 && len < PATH_MAX_BYTES;
}

bool ak_serve_read_port(const char *dir, uint16_t *port)
{
    char path[PATH_MAX_BYTES];
    struct ak_buf text;
    uint64_t number = 0;
    ak_buf_init(&text, 64);
    bool ok = port_path(dir, path) &&
              ak_fs_read_all(ak_fs_posix(), path, 16, &text, NULL) == AK_OK &&
              ak_str_u64(ak_str_trim(ak_buf_str(&text)), 65535, &number) && number > 0;
    ak_buf_release(&text);
    if (ok) {
        *port = (uint16_t)number;
    }
    return ok;
}

enum ak_rc ak_serve_write_port(const char *dir, uint16_t port, struct ak_err *err)
{
    char path[PATH_MAX_BYTES];
    char text[16];
    int len = snprintf(text, sizeof text, "%u\n", port);
    if (!port_path(dir, path)) {
        return ak_fail(err, AK_INVALID, "the path of the data folder is too long");
    }
    return ak_fs_write_atomic(ak_fs_posix(), path, (struct ak_str){text, (size_t)len}, err);
}

void ak_serve_remove_port(const char *dir)
{
    char path[PATH_MAX_BYTES];
    if (port_path(dir, path)) {
        enum ak_rc rc = ak_fs_remove(ak_fs_posix(), path, NULL);
        (void)rc; /* a stale note misleads nobody for long: its port does not answer */
    }
}
