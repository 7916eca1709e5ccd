/* version.c — akidb version: what this program is made of. */
#include "base/hash.h"
#include "base/json.h"
#include "catalog/catalog.h"
#include "cli/cli.h"
#include "simd/simd.h"
#include <stdio.h>

#ifndef AKIDB_COMMIT
#define AKIDB_COMMIT "" /* built outside a git checkout */
#endif

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

#ifdef AK_FAULTS
#define BUILD "dev (crash points and fault injection compiled in: not for production)"
#else
#define BUILD "release"
#endif

enum ak_rc ak_cli_version(int argc, char **argv, struct ak_err *err)
{
    bool json = false;
    const struct ak_arg options[] = {
        {"json", 0, AK_ARG_FLAG, &json, 0, 0, NULL, "print JSON"},
    };
    struct ak_args args = {
        .command = "version",
        .usage = "[--json]",
        .about = "Prints the version, how it was built, and the distance kernels chosen for this\n"
                 "processor (AKIDB_SIMD=scalar|avx2|avx512|neon asks for lower ones).\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
    };
    enum ak_rc rc = ak_args_parse(&args, argc, argv, err);
    if (rc != AK_OK || args.helped) {
        return rc;
    }
    const struct {
        const char *name;
        const char *value;
    } lines[] = {
        {"version", AKIDB_VERSION},
        {"commit", AKIDB_COMMIT},
        {"compiler", COMPILER},
        {"build", BUILD},
        {"simd", ak_simd_get()->name},
        {"sqlite", ak_catalog_sqlite_version()},
        {"openssl", ak_hash_openssl_version()},
    };
    struct ak_buf out;
    ak_buf_init(&out, 0);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        if (json) {
            ak_buf_add_fmt(&out, "%s\"%s\":", i ? "," : "{", lines[i].name);
            ak_json_put_string(&out, ak_str_of(lines[i].value));
        } else if (lines[i].value[0]) {
            (void)printf("%-9s %s\n", i == 0 ? "akidb" : lines[i].name, lines[i].value);
        }
    }
    if (json) {
        (void)printf("%s}\n", ak_buf_cstr(&out));
    }
    ak_buf_release(&out);
    return AK_OK;
}
