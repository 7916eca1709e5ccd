/* perf.c — akidb perf …: the subcommands, and where the performance data is. */
#include "cli/perf.h"
#include "cli/nearest.h"
#include "cli/serve.h"
#include <stdio.h>
#include <string.h>

extern char **environ;

static const struct {
    const char *name;
    enum ak_rc (*run)(int argc, char **argv, struct ak_err *err);
    const char *usage;
    const char *summary;
} commands[] = {
#define AK_PERF_COMMAND(name, usage, summary) {#name, ak_cli_perf_##name, usage, summary},
#include "cli/perf.def"
#undef AK_PERF_COMMAND
};

#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

enum ak_rc ak_cli_perf_folder(const struct ak_config_flags *flags, const char *given,
                              struct ak_buf *out, struct ak_err *err)
{
    struct ak_config config;
    if (given) {
        ak_buf_add_str(out, ak_str_of(given));
        (void)ak_buf_cstr(out);
        return ak_buf_check(out, err);
    }
    ak_config_init(&config);
    enum ak_rc rc = ak_config_load(&config, flags, environ, err);
    if (rc == AK_OK) {
        ak_serve_perf_dir(&config, config.data_dir, out);
        rc = ak_buf_check(out, err);
    }
    ak_config_release(&config);
    return rc;
}

static const char *name_at(const void *ctx, size_t i)
{
    (void)ctx;
    return commands[i].name;
}

static void print_help(void)
{
    (void)printf("Usage: akidb perf COMMAND [options]\n\n"
                 "What the server logs about its queries (in the folder perf of the data folder),\n"
                 "and what becomes of it.\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        (void)printf("  %-8s %s\n           %s\n", commands[i].name, commands[i].summary,
                     commands[i].usage);
    }
    (void)printf("\nOptions:\n"
                 "  -h, --help  of a command: `akidb perf export --help`\n"
                 "\nExamples:\n"
                 "  akidb perf show --days 7\n"
                 "  akidb perf advise --table docs\n"
                 "  akidb perf export --date yesterday\n");
}

enum ak_rc ak_cli_perf(int argc, char **argv, struct ak_err *err)
{
    if (argc == 0) {
        return ak_fail(err, AK_INVALID,
                       "`akidb perf` needs a command; `akidb help perf` lists them");
    }
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(argv[0], commands[i].name) == 0) {
            return commands[i].run(argc - 1, argv + 1, err);
        }
    }
    if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
        print_help();
        return AK_OK;
    }
    const char *near = ak_nearest(argv[0], name_at, NULL, COMMAND_COUNT);
    return ak_fail(err, AK_INVALID, "`akidb perf` has no command '%s'; %s%s", argv[0],
                   near ? "did you mean " : "`akidb help perf` lists them", near ? near : "");
}
