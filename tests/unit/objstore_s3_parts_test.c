/* objstore_s3_parts_test.c — uploads in parts, files, writers: whole or not at all, whatever
 * breaks.
 */
#include "base/fault.h"
#include "support/s3_fake.h"
#include <errno.h>

#define PART 1000 /* of fake_options() */

struct made {
    char path[512];
    char *bytes;
    size_t len;
};

static void make_file(struct made *made, size_t len)
{
    struct ak_err err;
    made->bytes = ak_alloc(len);
    made->len = len;
    for (size_t i = 0; i < len; i++) {
        made->bytes[i] = (char)(i * 31 + i / 251);
    }
    (void)snprintf(made->path, sizeof made->path, "%s/source-%zu", ak_test_dir(), len);
    CHECK_OK(
        ak_fs_write_atomic(ak_fs_posix(), made->path, (struct ak_str){made->bytes, len}, &err));
}

static void check_same(const struct made *made, const char *key)
{
    const struct fake_object *object = fake_find(ak_str_of(key));
    CHECK(object != NULL);
    CHECK_INT(object->bytes.len, made->len);
    CHECK(memcmp(object->bytes.p, made->bytes, made->len) == 0);
}

static void check_file(const struct made *made, const char *path)
{
    struct ak_err err;
    struct ak_buf out;
    ak_buf_init(&out, 0);
    CHECK_OK(ak_fs_read_all(ak_fs_posix(), path, 1u << 30, &out, &err));
    CHECK_INT(out.len, made->len);
    CHECK(memcmp(out.p, made->bytes, made->len) == 0);
    ak_buf_release(&out);
}

static bool is_there(const char *path)
{
    struct ak_err err;
    uint64_t size = 0;
    return ak_fs_stat(ak_fs_posix(), path, &size, &err) == AK_OK;
}

static enum ak_rc put_file(struct ak_objstore *store, const struct made *made, struct ak_err *err)
{
    return ak_objstore_put_file(store, AK_STR("k"), ak_fs_posix(), made->path, NULL, NULL, err);
}

static enum ak_rc get_file(struct ak_objstore *store, const char *path, struct ak_err *err)
{
    return ak_objstore_get_file(store, AK_STR("k"), ak_fs_posix(), path, NULL, NULL, err);
}

TEST(s3_parts, files_of_every_size_arrive_whole_in_equal_parts)
{
    static const struct {
        size_t len;
        unsigned parts; /* 0: one put */
    } rows[] = {{0, 0},        {1, 0},        {PART - 1, 0},     {PART, 0},
                {PART + 1, 2}, {2 * PART, 2}, {2 * PART + 1, 3}, {20 * PART + 7, 21}};
    struct ak_err err;
    char back[512];
    (void)snprintf(back, sizeof back, "%s/back", ak_test_dir());
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct made made;
        struct ak_objstore *store = fake_open();
        make_file(&made, rows[i].len);
        CHECK_OK(put_file(store, &made, &err));
        check_same(&made, "k");
        const char *log = ak_buf_cstr(&fake.log);
        unsigned parts = 0;
        for (const char *at = log; (at = strstr(at, "partNumber=")) != NULL; at++) {
            parts++;
        }
        CHECK_INT(parts, rows[i].parts);
        CHECK_INT(fake_open_uploads(), 0);
        CHECK_OK(get_file(store, back, &err));
        check_file(&made, back);
        ak_free(made.bytes);
        fake_done(store);
    }
}

TEST(s3_parts, bytes_in_memory_above_the_limit_go_in_parts_too)
{
    struct ak_err err;
    struct made made;
    struct ak_objstore *store = fake_open();
    make_file(&made, 5 * PART);
    CHECK_OK(
        ak_objstore_put(store, AK_STR("k"), (struct ak_str){made.bytes, made.len}, NULL, &err));
    check_same(&made, "k");
    CHECK(strstr(ak_buf_cstr(&fake.log), "partNumber=5&"));
    ak_free(made.bytes);
    fake_done(store);
}

TEST(s3_parts, each_request_of_an_upload_may_fail_for_a_while)
{
    static const struct {
        const char *method;
        const char *part;
    } steps[] = {{"POST", "?uploads="},
                 {"PUT", "partNumber=1&"},
                 {"PUT", "partNumber=5&"},
                 {"POST", "?uploadId="}};
    struct ak_err err;
    struct made made;
    make_file(&made, 5 * PART);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        for (int kind = 0; kind < 3; kind++) {
            struct ak_objstore *store = fake_open();
            fake_add_rule((struct fake_rule){.method = steps[i].method,
                                             .part = steps[i].part,
                                             .times = kind == 2 ? 1 : 3,
                                             .kind = kind == 0   ? FAKE_ANSWER
                                                     : kind == 1 ? FAKE_FAILURE
                                                                 : FAKE_LOST,
                                             .status = 500,
                                             .code = "InternalError",
                                             .failure = AK_HTTPC_RECEIVE});
            CHECK_OK(put_file(store, &made, &err));
            check_same(&made, "k");
            CHECK_INT(fake_open_uploads(), i == 0 && kind == 2); /* one of which nobody knows */
            fake_done(store);
        }
    }
    ak_free(made.bytes);
}

TEST(s3_parts, an_error_inside_a_200_of_complete_is_an_error)
{
    struct ak_err err;
    struct made made;
    make_file(&made, 2 * PART);
    struct ak_objstore *store = fake_open();
    fake_add_rule((struct fake_rule){.method = "POST",
                                     .part = "?uploadId=",
                                     .times = 2,
                                     .kind = FAKE_ANSWER,
                                     .status = 200,
                                     .code = "InternalError"});
    CHECK_OK(put_file(store, &made, &err));
    CHECK_INT(fake.sleeps, 2);
    check_same(&made, "k");
    fake_no_rules();
    fake_add_rule((struct fake_rule){.method = "POST",
                                     .part = "?uploadId=",
                                     .times = 1,
                                     .kind = FAKE_ANSWER,
                                     .status = 200,
                                     .code = "AccessDenied"});
    CHECK_RC(AK_FORBIDDEN, put_file(store, &made, &err));
    CHECK(strstr(err.text, "completing an upload of 2 parts"));
    CHECK_INT(fake_open_uploads(), 0);
    ak_free(made.bytes);
    fake_done(store);
}

TEST(s3_parts, an_upload_that_fails_is_aborted_and_nothing_appears)
{
    static const struct {
        const char *method;
        const char *part;
        int status;
        const char *code;
        enum ak_rc want;
    } rows[] = {
        {"POST", "?uploads=", 403, "AccessDenied", AK_FORBIDDEN},
        {"PUT", "partNumber=1&", 403, "AccessDenied", AK_FORBIDDEN},
        {"PUT", "partNumber=7&", 400, "EntityTooSmall", AK_INVALID},
        {"PUT", "partNumber=3&", 503, "SlowDown", AK_UNAVAILABLE},
        {"PUT", "partNumber=3&", 404, "NoSuchUpload", AK_CONFLICT},
        {"POST", "?uploadId=", 500, "InternalError", AK_UNAVAILABLE},
        {"POST", "?uploadId=", 404, "NoSuchUpload", AK_CONFLICT},
    };
    struct ak_err err;
    struct made made;
    make_file(&made, 8 * PART);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ak_objstore *store = fake_open();
        fake_add_rule((struct fake_rule){.method = rows[i].method,
                                         .part = rows[i].part,
                                         .times = 1000,
                                         .kind = FAKE_ANSWER,
                                         .status = rows[i].status,
                                         .code = rows[i].code});
        CHECK_RC(rows[i].want, put_file(store, &made, &err));
        CHECK_INT(fake_open_uploads(), 0);
        CHECK_INT(fake.count, 0);
        fake_done(store);
    }
    ak_free(made.bytes);
}

TEST(s3_parts, a_complete_whose_answer_was_lost_is_told_from_one_that_did_not_happen)
{
    struct ak_err err;
    struct made made;
    make_file(&made, 2 * PART);
    struct ak_objstore *store = fake_open();
    fake_add_rule((struct fake_rule){.method = "POST", .part = "?uploadId=", .kind = FAKE_LOST});
    CHECK_OK(put_file(store, &made, &err));
    check_same(&made, "k");
    fake_no_rules();
    fake_add_rule((struct fake_rule){.method = "POST", .part = "?uploadId=", .kind = FAKE_TWICE});
    CHECK_OK(put_file(store, &made, &err));
    check_same(&made, "k");
    fake_no_rules();
    /* It happened, and before we could look another object took its place. */
    fake_add_rule((struct fake_rule){.method = "POST", .part = "?uploadId=", .kind = FAKE_LOST});
    fake_add_rule((struct fake_rule){.method = "HEAD", .kind = FAKE_REPLACE, .headers = "theirs"});
    CHECK_RC(AK_UNAVAILABLE, put_file(store, &made, &err));
    ak_free(made.bytes);
    fake_done(store);
}

TEST(s3_parts, a_conditional_upload_in_parts_loses_to_one_that_is_there)
{
    const struct ak_objstore_put_options fresh = {.only_if_absent = true};
    struct ak_err err;
    struct made made;
    make_file(&made, 3 * PART);
    const struct ak_str bytes = {made.bytes, made.len};
    struct ak_objstore *store = fake_open();
    CHECK_OK(ak_objstore_put(store, AK_STR("k"), bytes, &fresh, &err));
    check_same(&made, "k");
    fake.requests = 0;
    CHECK_RC(AK_EXISTS, ak_objstore_put(store, AK_STR("k"), bytes, &fresh, &err));
    CHECK_INT(fake.requests, 1); /* no part was sent for nothing */
    /* Another one wins while ours is on its way. */
    fake_add_rule((struct fake_rule){
        .method = "PUT", .part = "k2?partNumber=2&", .kind = FAKE_REPLACE, .headers = "theirs"});
    CHECK_RC(AK_EXISTS, ak_objstore_put(store, AK_STR("k2"), bytes, &fresh, &err));
    const struct fake_object *k2 = fake_find(AK_STR("k2"));
    CHECK(k2 && ak_str_eq(k2->bytes, AK_STR("theirs")));
    CHECK_INT(fake_open_uploads(), 0);
    /* Ours won, and the answer was lost. */
    fake_no_rules();
    fake_add_rule((struct fake_rule){.method = "POST", .part = "k3?uploadId=", .kind = FAKE_LOST});
    CHECK_OK(ak_objstore_put(store, AK_STR("k3"), bytes, &fresh, &err));
    check_same(&made, "k3");
    ak_free(made.bytes);
    fake_done(store);
}

TEST(s3_parts, an_upload_that_someone_aborted_is_begun_anew_once)
{
    struct ak_err err;
    struct made made;
    make_file(&made, 3 * PART);
    struct ak_objstore *store = fake_open();
    fake_add_rule((struct fake_rule){.method = "POST",
                                     .part = "?uploadId=",
                                     .kind = FAKE_ANSWER,
                                     .status = 404,
                                     .code = "NoSuchUpload"});
    CHECK_OK(put_file(store, &made, &err));
    check_same(&made, "k");
    CHECK_INT(fake_open_uploads(), 0);
    fake_add_rule((struct fake_rule){.method = "POST",
                                     .part = "?uploadId=",
                                     .times = 2,
                                     .kind = FAKE_ANSWER,
                                     .status = 409,
                                     .code = "ConditionalRequestConflict"});
    CHECK_RC(AK_CONFLICT, put_file(store, &made, &err));
    CHECK_INT(fake_open_uploads(), 0);
    ak_free(made.bytes);
    fake_done(store);
}

TEST(s3_parts, servers_without_etags_are_served_too)
{
    struct ak_err err;
    struct made made;
    char back[512];
    (void)snprintf(back, sizeof back, "%s/back", ak_test_dir());
    make_file(&made, 3 * PART);
    struct ak_objstore *store = fake_open();
    fake.no_etags = true;
    CHECK_OK(put_file(store, &made, &err));
    check_same(&made, "k");
    CHECK_OK(get_file(store, back, &err));
    check_file(&made, back);
    ak_free(made.bytes);
    fake_done(store);
}

/* --- Downloads to files --- */

TEST(s3_parts, a_broken_download_to_a_file_goes_on_and_a_failed_one_leaves_nothing)
{
    struct ak_err err;
    struct made made;
    struct ak_rand rand;
    char back[512];
    char part[600];
    (void)snprintf(back, sizeof back, "%s/back", ak_test_dir());
    (void)snprintf(part, sizeof part, "%s.part", back);
    ak_rand_seed(&rand, ak_test_seed());
    make_file(&made, 200000);
    struct ak_objstore *store = fake_open();
    fake_store(AK_STR("k"), (struct ak_str){made.bytes, made.len}, AK_STR_NONE);
    for (int i = 0; i < 20; i++) {
        fake_no_rules();
        for (int cut = 0; cut < 8; cut++) {
            fake_add_rule((struct fake_rule){
                .method = "GET", .kind = FAKE_CUT, .at = ak_rand_below(&rand, 30000)});
        }
        CHECK_OK(get_file(store, back, &err));
        check_file(&made, back);
        CHECK_OK(ak_fs_remove(ak_fs_posix(), back, &err));
    }
    fake_no_rules();
    fake_add_rule((struct fake_rule){.method = "GET", .kind = FAKE_CUT, .at = 5000});
    fake_add_rule((struct fake_rule){
        .method = "GET", .times = 100, .kind = FAKE_ANSWER, .status = 403, .code = "AccessDenied"});
    CHECK_RC(AK_FORBIDDEN, get_file(store, back, &err));
    CHECK(!is_there(back) && !is_there(part));
    CHECK_RC(AK_NOT_FOUND,
             ak_objstore_get_file(store, AK_STR("none"), ak_fs_posix(), back, NULL, NULL, &err));
    CHECK(!is_there(back) && !is_there(part));
    ak_free(made.bytes);
    fake_done(store);
}

TEST(s3_parts, large_files_come_in_ranges_at_once_and_never_mix_two_objects)
{
    struct ak_err err;
    struct made made;
    char back[512];
    (void)snprintf(back, sizeof back, "%s/back", ak_test_dir());
    make_file(&made, ((size_t)33 << 20) + 5);
    struct ak_objstore *store = fake_open();
    fake_store(AK_STR("k"), (struct ak_str){made.bytes, made.len}, AK_STR_NONE);
    /* Whichever part comes second: the last one has a little over 1 MiB. */
    fake_add_rule((struct fake_rule){.method = "GET", .skip = 1, .kind = FAKE_CUT, .at = 1000000});
    CHECK_OK(get_file(store, back, &err));
    check_file(&made, back);
    CHECK(fake.requests >= 5); /* a HEAD, three ranges, one again */
    fake_add_rule(
        (struct fake_rule){.method = "GET", .skip = 1, .kind = FAKE_REPLACE, .headers = "other"});
    CHECK_OK(get_file(store, back, &err));
    struct made other = {.bytes = made.bytes, .len = 5};
    memcpy(other.bytes, "other", 5);
    check_file(&other, back);
    ak_free(made.bytes);
    fake_done(store);
}

/* --- Progress and stopping --- */

struct watch {
    uint64_t last;
    uint64_t total;
    unsigned calls;
    uint64_t stop_at;
};

static bool watching(void *ctx, uint64_t done, uint64_t total)
{
    struct watch *watch = ctx;
    CHECK(done >= watch->last && done <= total);
    watch->last = done;
    watch->total = total;
    watch->calls++;
    return done < watch->stop_at;
}

TEST(s3_parts, progress_grows_to_the_total_and_can_stop_both_ways)
{
    struct ak_err err;
    struct made made;
    struct watch watch = {.stop_at = UINT64_MAX};
    char back[512];
    (void)snprintf(back, sizeof back, "%s/back", ak_test_dir());
    make_file(&made, 40 * PART);
    struct ak_objstore *store = fake_open();
    fake_add_rule(
        (struct fake_rule){.method = "PUT", .times = 3, .kind = FAKE_ANSWER, .status = 500});
    CHECK_OK(
        ak_objstore_put_file(store, AK_STR("k"), ak_fs_posix(), made.path, watching, &watch, &err));
    CHECK_INT(watch.last, made.len);
    CHECK_INT(watch.total, made.len);
    CHECK(watch.calls >= 2);
    watch = (struct watch){.stop_at = UINT64_MAX};
    CHECK_OK(ak_objstore_get_file(store, AK_STR("k"), ak_fs_posix(), back, watching, &watch, &err));
    CHECK_INT(watch.last, made.len);
    watch = (struct watch){.stop_at = 0};
    CHECK_RC(AK_CONFLICT, ak_objstore_put_file(store, AK_STR("k2"), ak_fs_posix(), made.path,
                                               watching, &watch, &err));
    CHECK(strstr(err.text, "cancelled"));
    CHECK(!fake_find(AK_STR("k2")));
    CHECK_INT(fake_open_uploads(), 0);
    CHECK_OK(ak_fs_remove(ak_fs_posix(), back, &err));
    watch = (struct watch){.stop_at = 0};
    CHECK_RC(AK_CONFLICT,
             ak_objstore_get_file(store, AK_STR("k"), ak_fs_posix(), back, watching, &watch, &err));
    CHECK_INT(watch.calls, 1); /* a stop is no reason to begin anew */
    CHECK(!is_there(back));
    ak_free(made.bytes);
    fake_done(store);
}

/* --- Writers --- */

static enum ak_rc write_all(struct ak_objstore *store, const struct made *made, size_t piece,
                            const struct ak_objstore_put_options *options, struct ak_err *err)
{
    struct ak_objstore_writer *writer = NULL;
    enum ak_rc rc = ak_objstore_create(store, AK_STR("k"), options, &writer, err);
    for (size_t at = 0; rc == AK_OK && at < made->len; at += piece) {
        size_t len = made->len - at < piece ? made->len - at : piece;
        rc = ak_objstore_write(writer, made->bytes + at, len, err);
    }
    if (rc != AK_OK) {
        ak_objstore_abort(writer);
        return rc;
    }
    uint64_t bytes = 0;
    rc = ak_objstore_commit(writer, &bytes, err);
    CHECK(rc != AK_OK || bytes == made->len);
    return rc;
}

TEST(s3_parts, a_writer_s_object_appears_at_commit_whole_whatever_the_pieces)
{
    static const size_t lens[] = {0, 1, PART, PART + 1, 3 * PART, 17 * PART + 3};
    static const size_t pieces[] = {1, 7, PART, 2 * PART + 1, 100000};
    struct ak_err err;
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        for (size_t j = 0; j < sizeof pieces / sizeof pieces[0]; j++) {
            struct made made;
            struct ak_objstore *store = fake_open();
            make_file(&made, lens[i]);
            CHECK_OK(write_all(store, &made, pieces[j], NULL, &err));
            check_same(&made, "k");
            CHECK_INT(fake_open_uploads(), 0);
            if (lens[i] <= PART) {
                CHECK_INT(fake.requests, 1);
            }
            ak_free(made.bytes);
            fake_done(store);
        }
    }
}

TEST(s3_parts, a_writer_that_is_aborted_or_fails_leaves_nothing)
{
    struct ak_err err;
    struct made made;
    make_file(&made, 9 * PART);
    struct ak_objstore *store = fake_open();
    struct ak_objstore_writer *writer = NULL;
    CHECK_OK(ak_objstore_create(store, AK_STR("k"), NULL, &writer, &err));
    CHECK_OK(ak_objstore_write(writer, made.bytes, 5 * PART, &err));
    ak_objstore_abort(writer);
    CHECK(fake.count == 0 && fake_open_uploads() == 0);
    for (int step = 0; step < 3; step++) {
        fake_no_rules();
        fake_add_rule((struct fake_rule){.method = step == 1 ? "PUT" : "POST",
                                         .part = step == 0   ? "?uploads="
                                                 : step == 1 ? "partNumber=3&"
                                                             : "?uploadId=",
                                         .times = 1000,
                                         .kind = FAKE_ANSWER,
                                         .status = 403,
                                         .code = "AccessDenied"});
        CHECK_RC(AK_FORBIDDEN, write_all(store, &made, 500, NULL, &err));
        CHECK(fake.count == 0 && fake_open_uploads() == 0);
    }
    ak_free(made.bytes);
    fake_done(store);
}

TEST(s3_parts, a_conditional_writer_loses_to_what_is_there)
{
    const struct ak_objstore_put_options fresh = {.only_if_absent = true,
                                                  .content_type = "text/plain"};
    struct ak_err err;
    struct made made;
    make_file(&made, 3 * PART);
    struct ak_objstore *store = fake_open();
    CHECK_OK(write_all(store, &made, 100, &fresh, &err));
    CHECK_RC(AK_EXISTS, write_all(store, &made, 100, &fresh, &err));
    made.len = 10;
    CHECK_RC(AK_EXISTS, write_all(store, &made, 100, &fresh, &err));
    CHECK_INT(fake_open_uploads(), 0);
    ak_free(made.bytes);
    fake_done(store);
}

/* --- What is left, and what is missing --- */

TEST(s3_parts, uploads_that_were_begun_long_ago_are_swept_at_open)
{
    struct ak_err err;
    struct ak_objstore *store = NULL;
    struct ak_s3_options options = fake_options();
    fake_init();
    options.prefix = "p/";
    fake_add_rule((struct fake_rule){
        .method = "GET",
        .part = "uploads=&prefix=p%2F",
        .kind = FAKE_RAW,
        .status = 200,
        .code = "<ListMultipartUploadsResult>"
                "<Upload><Key>p/old</Key><UploadId>one+/</UploadId>"
                "<Initiated>2020-01-01T00:00:00.000Z</Initiated></Upload>"
                "<Upload><Key>p/fresh</Key><UploadId>two</UploadId>"
                "<Initiated>2026-10-26T00:00:00.000Z</Initiated></Upload>"
                "<Upload><Key>else/old</Key><UploadId>three</UploadId>"
                "<Initiated>2020-01-01T00:00:00.000Z</Initiated></Upload>"
                "<Upload><Key>p/odd</Key><UploadId>four</UploadId><Initiated>x</Initiated></Upload>"
                "</ListMultipartUploadsResult>"});
    CHECK_OK(fake_try_open(&options, false, &store, &err));
    const char *log = ak_buf_cstr(&fake.log);
    CHECK(strstr(log, "DELETE http://fake:9000/b/p/old?uploadId=one%2B%2F\n"));
    CHECK(!strstr(log, "uploadId=two") && !strstr(log, "uploadId=three"));
    CHECK(!strstr(log, "uploadId=four"));
    fake_done(store);
    fake_init(); /* without a place that is ours alone, a bucket may be shared */
    options.prefix = NULL;
    CHECK_OK(fake_try_open(&options, false, &store, &err));
    CHECK(!strstr(ak_buf_cstr(&fake.log), "uploads="));
    fake_done(store);
    fake_init();
    options.uploads_under = "snapshots/";
    CHECK_OK(fake_try_open(&options, false, &store, &err));
    CHECK(strstr(ak_buf_cstr(&fake.log), "uploads=&prefix=snapshots%2F\n"));
    fake_done(store);
}

TEST(s3_parts, parts_of_one_key_are_removed_whatever_their_age_and_no_others)
{
    struct ak_err err;
    struct ak_objstore *store = NULL;
    struct ak_s3_options options = fake_options();
    fake_init();
    options.prefix = "p/";
    CHECK_OK(fake_try_open(&options, false, &store, &err));
    fake_add_rule(
        (struct fake_rule){.method = "GET",
                           .part = "uploads=&prefix=p%2Fa%20b",
                           .kind = FAKE_RAW,
                           .status = 200,
                           .code = "<ListMultipartUploadsResult>"
                                   "<Upload><Key>p/a b</Key><UploadId>one</UploadId>"
                                   "<Initiated>2999-01-01T00:00:00.000Z</Initiated></Upload>"
                                   "<Upload><Key>p/a b</Key><UploadId>two</UploadId></Upload>"
                                   "<Upload><Key>p/a bc</Key><UploadId>three</UploadId></Upload>"
                                   "</ListMultipartUploadsResult>"});
    CHECK_OK(ak_objstore_remove_parts(store, AK_STR("a b"), &err));
    const char *log = ak_buf_cstr(&fake.log);
    CHECK(strstr(log, "DELETE http://fake:9000/b/p/a%20b?uploadId=one\n"));
    CHECK(strstr(log, "DELETE http://fake:9000/b/p/a%20b?uploadId=two\n"));
    CHECK(!strstr(log, "uploadId=three"));
    /* Who may not list uploads, or cannot, leaves them to the bucket's rules. */
    fake_add_rule((struct fake_rule){.method = "GET",
                                     .part = "uploads=&prefix=p%2Fdenied",
                                     .kind = FAKE_ANSWER,
                                     .status = 403,
                                     .code = "AccessDenied"});
    CHECK_OK(ak_objstore_remove_parts(store, AK_STR("denied"), &err));
    fake_add_rule((struct fake_rule){.method = "GET",
                                     .part = "uploads=&prefix=p%2Fnone",
                                     .kind = FAKE_ANSWER,
                                     .status = 501,
                                     .code = "NotImplemented"});
    CHECK_OK(ak_objstore_remove_parts(store, AK_STR("none"), &err));
    fake_add_rule((struct fake_rule){.method = "GET",
                                     .part = "uploads=&prefix=p%2Faway",
                                     .kind = FAKE_ANSWER,
                                     .times = 100,
                                     .status = 500,
                                     .code = "InternalError"});
    CHECK_RC(AK_UNAVAILABLE, ak_objstore_remove_parts(store, AK_STR("away"), &err));
    CHECK(strstr(err.text, "remove the parts of 'away'"));
    CHECK_RC(AK_INVALID, ak_objstore_remove_parts(store, AK_STR("../x"), &err));
    fake_done(store);
}

TEST(s3_parts, a_file_that_is_missing_or_shrinks_is_told)
{
    struct ak_err err;
    struct made made = {.path = "/nowhere/at/all"};
    struct ak_objstore *store = fake_open();
    CHECK_RC(AK_INVALID, put_file(store, &made, &err));
    CHECK(strstr(err.text, "/nowhere/at/all"));
    CHECK_INT(fake.requests, 0);
    make_file(&made, 3 * PART);
    struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
    for (int64_t n = 0; n < 6; n++) {
        ak_fs_fault_set(fault, AK_FS_READ, n, EIO, false);
        enum ak_rc rc = ak_objstore_put_file(store, AK_STR("k"), ak_fs_fault_fs(fault), made.path,
                                             NULL, NULL, &err);
        CHECK(rc == AK_IO || !ak_fs_fault_fired(fault));
        CHECK_INT(fake_open_uploads(), 0);
    }
    ak_fs_fault_close(fault);
    ak_free(made.bytes);
    fake_done(store);
}

TEST(s3_parts, a_full_disk_under_a_download_leaves_nothing)
{
    struct ak_err err;
    struct made made;
    char back[512];
    (void)snprintf(back, sizeof back, "%s/back", ak_test_dir());
    make_file(&made, 50 * PART);
    struct ak_objstore *store = fake_open();
    fake_store(AK_STR("k"), (struct ak_str){made.bytes, made.len}, AK_STR_NONE);
    struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
    bool fired = true;
    for (int64_t n = 0; fired; n++) {
        ak_fs_fault_set(fault, AK_FS_WRITE | AK_FS_SYNC | AK_FS_RENAME | AK_FS_ALLOCATE, n, ENOSPC,
                        false);
        enum ak_rc rc =
            ak_objstore_get_file(store, AK_STR("k"), ak_fs_fault_fs(fault), back, NULL, NULL, &err);
        fired = ak_fs_fault_fired(fault);
        CHECK(rc == (fired ? AK_NO_SPACE : AK_OK));
        CHECK(is_there(back) == !fired);
    }
    ak_fs_fault_close(fault);
    ak_free(made.bytes);
    fake_done(store);
}

TEST(s3_parts, whichever_allocation_fails_an_upload_is_whole_or_not_there)
{
    struct ak_err err;
    struct made made;
    make_file(&made, 2 * PART);
    for (int how = 0; how < 2; how++) {
        bool fired = true;
        for (int64_t n = 0; fired; n++) {
            struct ak_objstore *store = fake_open();
            ak_fault_alloc_at(n);
            enum ak_rc rc =
                how == 0 ? put_file(store, &made, &err) : write_all(store, &made, 300, NULL, &err);
            fired = ak_fault_alloc_fired();
            ak_fault_alloc_at(-1);
            CHECK(rc == AK_OK || (fired && (rc == AK_NOMEM || rc == AK_UNAVAILABLE)));
            if (rc == AK_OK || fake.count) { /* memory may fail after the object appeared */
                check_same(&made, "k");
            }
            fake_done(store);
        }
    }
    ak_free(made.bytes);
}

TEST_MAIN()
