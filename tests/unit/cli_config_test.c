/* cli_config_test.c — the layers of the configuration, and the sentence for everything that is
 * wrong. */
#include "base/file.h"
#include "cli/args.h"
#include "cli/config.h"
#include "cli/nearest.h"
#include "support/test.h"
#include <stdlib.h>
#include <unistd.h>

static struct ak_config config;

static void fresh(void)
{
    ak_config_release(&config);
    ak_config_init(&config);
}

static enum ak_rc read_toml(const char *text, struct ak_err *err)
{
    fresh();
    return ak_config_read_toml(&config, ak_str_of(text), "akidb.toml", err);
}

static void check_toml_fails(const char *text, const char *sentence)
{
    struct ak_err err;
    CHECK_RC(AK_INVALID, read_toml(text, &err));
    CHECK_STR(err.text, sentence);
}

TEST(cli_config, every_default_fits_its_own_bounds_and_is_read_back_from_the_example)
{
    struct ak_err err;
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    CHECK(out != NULL);
    ak_config_print_toml(out);
    CHECK(fclose(out) == 0);
    CHECK_OK(read_toml(text, &err));
    free(text);
    struct ak_config defaults;
    ak_config_init(&defaults);
    CHECK_INT(config.server_body_max, defaults.server_body_max);
    CHECK_INT(config.wal_max_bytes, defaults.wal_max_bytes);
    CHECK_INT(config.server_idle_timeout, 75000);
    CHECK_INT(config.wal_durability, 0);
    CHECK_STR(config.server_listen, defaults.server_listen);
    CHECK_STR(config.data_dir, "./akidb-data");
    ak_config_release(&defaults);
}

TEST(cli_config, the_example_file_is_what_help_prints)
{
    struct ak_err err;
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    CHECK(out != NULL);
    ak_config_print_toml(out);
    CHECK(fclose(out) == 0);
    struct ak_buf file;
    ak_buf_init(&file, 0);
    CHECK_OK(ak_fs_read_all(ak_fs_posix(), "examples/akidb.toml", AK_CONFIG_FILE_MAX, &file, &err));
    CHECK_STR(ak_buf_cstr(&file), text);
    ak_buf_release(&file);
    free(text);
}

TEST(cli_config, sizes_take_bytes_and_units)
{
    uint64_t n = 0;
    CHECK(ak_config_parse_size(AK_STR("64MiB"), &n) && n == 64u << 20);
    CHECK(ak_config_parse_size(AK_STR("64 mib"), &n) && n == 64u << 20);
    CHECK(ak_config_parse_size(AK_STR("1500"), &n) && n == 1500);
    CHECK(ak_config_parse_size(AK_STR("2GB"), &n) && n == 2000000000u);
    CHECK(ak_config_parse_size(AK_STR("0"), &n) && n == 0);
    CHECK(!ak_config_parse_size(AK_STR("1.5GiB"), &n));
    CHECK(!ak_config_parse_size(AK_STR("64M"), &n));
    CHECK(!ak_config_parse_size(AK_STR("-1"), &n));
    CHECK(!ak_config_parse_size(AK_STR("MiB"), &n));
    CHECK(!ak_config_parse_size(AK_STR(""), &n));
    CHECK(!ak_config_parse_size(AK_STR("99999999999TiB"), &n));
}

TEST(cli_config, durations_need_their_unit)
{
    uint64_t n = 0;
    CHECK(ak_config_parse_duration(AK_STR("10s"), &n) && n == 10000);
    CHECK(ak_config_parse_duration(AK_STR("500ms"), &n) && n == 500);
    CHECK(ak_config_parse_duration(AK_STR("2 h"), &n) && n == 7200000);
    CHECK(ak_config_parse_duration(AK_STR("1d"), &n) && n == 86400000);
    CHECK(!ak_config_parse_duration(AK_STR("10"), &n));
    CHECK(!ak_config_parse_duration(AK_STR("s"), &n));
    CHECK(!ak_config_parse_duration(AK_STR("10 seconds"), &n));
}

TEST(cli_config, sizes_and_durations_print_in_their_largest_unit)
{
    char text[AK_CONFIG_TEXT_MAX];
    CHECK_STR(ak_config_size_text(64u << 20, text), "64MiB");
    CHECK_STR(ak_config_size_text(1500, text), "1500B");
    CHECK_STR(ak_config_size_text(0, text), "0B");
    CHECK_STR(ak_config_duration_text(75000, text), "75s");
    CHECK_STR(ak_config_duration_text(100, text), "100ms");
    CHECK_STR(ak_config_duration_text(86400000, text), "1d");
}

TEST(cli_config, a_file_sets_what_it_names_and_leaves_the_rest)
{
    struct ak_err err;
    CHECK_OK(
        read_toml("[server]\nlisten = \":9000\"\nthreads = 3\nidle_timeout = \"2m\"\n"
                  "[wal]\nsegment_bytes = 8388608\nmax_bytes = \"2GiB\"\ndurability = \"async\"\n",
                  &err));
    CHECK_STR(config.server_listen, ":9000");
    CHECK_INT(config.server_threads, 3);
    CHECK_INT(config.server_idle_timeout, 120000);
    CHECK_INT(config.wal_segment_bytes, 8388608);
    CHECK_INT(config.wal_max_bytes, 2LL << 30);
    CHECK_INT(config.wal_durability, 2);
    CHECK_STR(config.data_dir, "./akidb-data");
    CHECK_OK(read_toml("wal.durability = \"interval\"\n", &err));
    CHECK_INT(config.wal_durability, 1);
    CHECK_OK(read_toml("", &err));
    CHECK_INT(config.s3_virtual_host, 0);
    CHECK_OK(read_toml("[s3]\nvirtual_host = true\n", &err));
    CHECK_INT(config.s3_virtual_host, 1);
    CHECK_OK(read_toml("s3.virtual_host = \"true\"\n", &err));
    CHECK_INT(config.s3_virtual_host, 1);
}

TEST(cli_config, a_wrong_value_names_file_line_key_and_what_is_allowed)
{
    check_toml_fails("\n[wal]\n\ndurability = \"sink\"\n",
                     "akidb.toml:4: wal.durability is \"sink\"; allowed are sync, interval, async");
    check_toml_fails("[wal]\ndurability = 3\n",
                     "akidb.toml:2: wal.durability is 3; allowed are sync, interval, async");
    check_toml_fails("[wal]\ninterval_ms = 0\n",
                     "akidb.toml:2: wal.interval_ms is 0; allowed are 1 to 60000");
    check_toml_fails("[wal]\ninterval_ms = -5\n",
                     "akidb.toml:2: wal.interval_ms is -5; allowed are 1 to 60000");
    check_toml_fails("[server]\nthreads = -1\n",
                     "akidb.toml:2: server.threads is -1; allowed are 0 to 1024");
    check_toml_fails("[wal]\nsegment_bytes = \"1KiB\"\n",
                     "akidb.toml:2: wal.segment_bytes is \"1KiB\"; allowed are 1MiB to 4GiB");
    check_toml_fails("[wal]\nsegment_bytes = \"lots\"\n",
                     "akidb.toml:2: wal.segment_bytes is \"lots\"; it takes a number of bytes, or "
                     "text like \"64MiB\"");
    check_toml_fails("[server]\nidle_timeout = 75\n",
                     "akidb.toml:2: server.idle_timeout is 75; it takes a time with its unit in "
                     "quotes, like \"10s\" or \"500ms\"");
    check_toml_fails(
        "[server]\nthreads = true\n",
        "akidb.toml:2: server.threads is a boolean; it takes a whole number (threads)");
    check_toml_fails("[server]\nlisten = 8080\n",
                     "akidb.toml:2: server.listen is 8080; it takes text in quotes (address:port)");
    check_toml_fails("[data]\ndir = \"\"\n",
                     "akidb.toml:2: data.dir has 0 bytes; allowed are 1 to 4000");
    check_toml_fails("[server]\nthreads = \"many\"\n",
                     "akidb.toml:2: server.threads is \"many\"; it takes a whole number (threads)");
}

TEST(cli_config, an_unknown_key_names_the_nearest_one)
{
    check_toml_fails("[wal]\ndurabilty = \"sync\"\n",
                     "akidb.toml:2: unknown key 'wal.durabilty'; did you mean wal.durability?");
    check_toml_fails("[wall]\ndurability = \"sync\"\n",
                     "akidb.toml:1: unknown section 'wall'; did you mean wal?");
    check_toml_fails("wal = 3\n", "akidb.toml:1: wal is an integer; it is a section: write [wal]");
    check_toml_fails("listen = \"x\"\n",
                     "akidb.toml:1: unknown key 'listen'; `akidb help config` lists all of them");
    check_toml_fails(
        "[server]\nzzzzzzzzzzzzzzzzzzzzzz = 1\n",
        "akidb.toml:2: unknown key 'server.zzzzzzzzzzzzzzzzzzzzzz'; `akidb help config` "
        "lists all of them");
}

TEST(cli_config, a_file_that_is_no_toml_names_file_and_line)
{
    struct ak_err err;
    CHECK_RC(AK_INVALID, read_toml("[server]\nlisten = \n", &err));
    CHECK(strncmp(err.text, "akidb.toml:2: ", 14) == 0);
}

TEST(cli_config, the_environment_sets_keys_and_names_the_variable_when_wrong)
{
    struct ak_err err;
    char a[] = "AKIDB_WAL_MAX_BYTES=2GiB";
    char b[] = "AKIDB_SERVER_LISTEN=:1";
    char c[] = "PATH=/bin";
    char d[] = "AKIDB_SIMD=scalar";
    char *good[] = {a, b, c, d, NULL};
    fresh();
    CHECK_OK(ak_config_read_environment(&config, good, &err));
    CHECK_INT(config.wal_max_bytes, 2LL << 30);
    CHECK_STR(config.server_listen, ":1");
    char e[] = "AKIDB_LOG_LEVEL=loud";
    char *bad[] = {e, NULL};
    CHECK_RC(AK_INVALID, ak_config_read_environment(&config, bad, &err));
    CHECK_STR(err.text,
              "AKIDB_LOG_LEVEL: log.level is \"loud\"; allowed are debug, info, warn, error");
    char f[] = "AKIDB_LOG_LEVLE=info";
    char *typo[] = {f, NULL};
    CHECK_RC(AK_INVALID, ak_config_read_environment(&config, typo, &err));
    CHECK_STR(err.text, "AKIDB_LOG_LEVLE: unknown key 'log.levle'; did you mean log.level?");
}

TEST(cli_config, variables_that_kubernetes_makes_are_no_configuration)
{
    struct ak_err err;
    char a[] = "AKIDB_SERVER_SERVICE_HOST=10.0.0.1";
    char b[] = "AKIDB_SERVER_PORT=tcp://10.0.0.1:8080";
    char c[] = "AKIDB_SERVER_PORT_8080_TCP_PROTO=tcp";
    char d[] = "AKIDB_PORT=tcp://10.0.0.1:8080";
    char *made[] = {a, b, c, d, NULL};
    fresh();
    CHECK_OK(ak_config_read_environment(&config, made, &err));
}

TEST(cli_config, flags_win_over_the_environment_which_wins_over_the_file)
{
    struct ak_err err;
    char path[512];
    (void)snprintf(path, sizeof path, "%s/my.toml", ak_test_dir());
    CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), path,
                                AK_STR("[server]\nlisten = \"file:1\"\nthreads = 1\nworkers = 1\n"),
                                &err));
    char variable_a[] = "AKIDB_SERVER_THREADS=2";
    char variable_b[] = "AKIDB_SERVER_WORKERS=2";
    char *environment[] = {variable_a, variable_b, NULL};
    struct ak_config_flags flags = {.file = path};
    flags.list[flags.count++] = (struct ak_config_flag){"server.workers", "server.workers", "3"};
    fresh();
    CHECK_OK(ak_config_load(&config, &flags, environment, &err));
    CHECK_STR(config.server_listen, "file:1");
    CHECK_INT(config.server_threads, 2);
    CHECK_INT(config.server_workers, 3);
    flags.list[0].value = "many";
    CHECK_RC(AK_INVALID, ak_config_load(&config, &flags, environment, &err));
    CHECK_STR(err.text,
              "--server.workers: server.workers is \"many\"; it takes a whole number (threads)");
    CHECK_INT(config.server_workers, 3); /* untouched by the failure */
    flags.file = "/nonexistent/akidb.toml";
    CHECK_RC(AK_NOT_FOUND, ak_config_load(&config, &flags, environment, &err));
    CHECK(strstr(err.text, "/nonexistent/akidb.toml") != NULL);
}

TEST(cli_config, a_word_too_far_from_all_others_has_no_neighbour)
{
    CHECK_INT(ak_nearest_distance("serve", "serve"), 0);
    CHECK_INT(ak_nearest_distance("serv", "serve"), 1);
    CHECK_INT(ak_nearest_distance("sevre", "serve"), 1);
    CHECK_INT(ak_nearest_distance("", "abc"), 3);
    CHECK_STR(ak_config_nearest("wal.sync_ms") ? ak_config_nearest("wal.sync_ms") : "", "");
    CHECK_STR(ak_config_nearest("server.thread"), "server.threads");
}

/* --- Options --- */

static enum ak_rc parse(struct ak_args *args, const char *line, struct ak_err *err)
{
    static char words[512];
    static char *argv[32];
    int argc = 0;
    (void)snprintf(words, sizeof words, "%s", line);
    char *save = NULL;
    for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        argv[argc++] = w;
    }
    args->word_count = 0;
    return ak_args_parse(args, argc, argv, err);
}

TEST(cli_args, options_words_and_configuration_are_told_apart)
{
    struct ak_err err;
    uint64_t k = 10;
    bool wait = false;
    const char *name = NULL;
    double share = 0;
    struct ak_config_flags flags = {0};
    const struct ak_arg options[] = {
        {"collection", 'c', AK_ARG_TEXT, &name, 0, 0, "NAME", ""},
        {"k", 'k', AK_ARG_UINT, &k, 1, 100, "N", ""},
        {"wait", 'w', AK_ARG_FLAG, &wait, 0, 0, NULL, ""},
        {"share", 0, AK_ARG_NUMBER, &share, 0, 0, "X", ""},
    };
    struct ak_args args = {.command = "test",
                           .usage = "WORD",
                           .options = options,
                           .option_count = 4,
                           .words_max = 2,
                           .config = &flags};
    CHECK_OK(parse(&args, "-c docs --k=5 -w a.npy --share 0.5 --data dir --wal.durability async -",
                   &err));
    CHECK_STR(name, "docs");
    CHECK_INT(k, 5);
    CHECK(wait && share == 0.5);
    CHECK_INT(args.word_count, 2);
    CHECK_STR(args.words[0], "a.npy");
    CHECK_STR(args.words[1], "-");
    CHECK_INT(flags.count, 2);
    CHECK_STR(flags.list[0].key, "data.dir");
    CHECK_STR(flags.list[1].key, "wal.durability");
    CHECK_OK(parse(&args, "-- --wait -k", &err));
    CHECK_STR(args.words[0], "--wait");
    CHECK_RC(AK_INVALID, parse(&args, "--colection x", &err));
    CHECK_STR(err.text, "`akidb test` has no option --colection; did you mean --collection?");
    CHECK_RC(AK_INVALID, parse(&args, "--k 101", &err));
    CHECK_STR(err.text, "--k is \"101\"; it takes a whole number from 1 to 100");
    CHECK_RC(AK_INVALID, parse(&args, "--k", &err));
    CHECK_STR(err.text, "--k needs a value: N");
    CHECK_RC(AK_INVALID, parse(&args, "--wait=yes", &err));
    CHECK_STR(err.text, "--wait takes no value");
    CHECK_RC(AK_INVALID, parse(&args, "a b c", &err));
    CHECK_STR(err.text, "'c' is one word too many; the usage is: akidb test WORD");
    CHECK_RC(AK_INVALID, parse(&args, "--share x", &err));
    CHECK_STR(err.text, "--share is \"x\"; it takes a number");
}

TEST_MAIN()
