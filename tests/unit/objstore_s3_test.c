/* objstore_s3_test.c — requests, answers, repairs and retries of the S3 store, over a fake. */
#include "base/fault.h"
#include "unit/s3_objects.h"

TEST(s3, puts_gets_heads_and_removes_objects)
{
    struct ak_err err;
    struct ak_arena arena;
    struct ak_object object;
    char part[4];
    struct ak_objstore *store = fake_open();
    ak_arena_init(&arena, 0);
    CHECK_OK(put(store, "a/b", "0123456789", &err));
    check_object(store, "a/b", "0123456789");
    CHECK_OK(ak_objstore_head(store, AK_STR("a/b"), &arena, &object, &err));
    CHECK_INT(object.size, 10);
    CHECK_STR(object.etag.p, "\"etag-2\"");
    CHECK_INT(object.modified_us, 1793701230000000);
    CHECK_OK(ak_objstore_get_range(store, AK_STR("a/b"), 3, part, 4, &err));
    CHECK(memcmp(part, "3456", 4) == 0);
    CHECK_RC(AK_CORRUPT, ak_objstore_get_range(store, AK_STR("a/b"), 8, part, 4, &err));
    CHECK_RC(AK_CORRUPT, ak_objstore_get_range(store, AK_STR("a/b"), 100, part, 4, &err));
    CHECK_OK(ak_objstore_remove(store, AK_STR("a/b"), &err));
    CHECK_OK(ak_objstore_remove(store, AK_STR("a/b"), &err));
    CHECK_RC(AK_NOT_FOUND, ak_objstore_head(store, AK_STR("a/b"), &arena, &object, &err));
    CHECK_OK(put(store, "empty", "", &err));
    check_object(store, "empty", "");
    ak_arena_release(&arena);
    fake_done(store);
}

TEST(s3, every_key_arrives_as_it_is)
{
    static const struct {
        const char *key;
        const char *url;
    } rows[] = {
        {"a b+c", "/b/a%20b%2Bc"},
        {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", "/b/%C3%A9%E2%82%AC%F0%9F%98%80"},
        {"x/..y/...z", "/b/x/..y/...z"},
        {"%41", "/b/%2541"},
        {"!*'()@$,;&=?#", "/b/%21%2A%27%28%29%40%24%2C%3B%26%3D%3F%23"},
        {"~-._", "/b/~-._"},
    };
    struct ak_err err;
    struct ak_objstore *store = fake_open();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ak_buf_clear(&fake.log);
        CHECK_OK(put(store, rows[i].key, "x", &err));
        CHECK_INT(logged(rows[i].url), 1);
        check_object(store, rows[i].key, "x");
    }
    fake_done(store);
}

/* --- What answers mean --- */

TEST(s3, each_answer_is_tried_again_or_not_as_the_table_says)
{
    static const struct {
        int status;
        const char *code;
        enum ak_rc want;
        bool again;
        const char *says;
    } rows[] = {
        {500, "InternalError", AK_UNAVAILABLE, true, "500 InternalError"},
        {500, NULL, AK_UNAVAILABLE, true, "500"},
        {502, NULL, AK_UNAVAILABLE, true, "502"},
        {503, "SlowDown", AK_UNAVAILABLE, true, "503 SlowDown"},
        {503, "ServiceUnavailable", AK_UNAVAILABLE, true, NULL},
        {503, "XMinioServerNotInitialized", AK_UNAVAILABLE, true, NULL},
        {504, NULL, AK_UNAVAILABLE, true, NULL},
        {429, NULL, AK_UNAVAILABLE, true, NULL},
        {408, NULL, AK_TIMEOUT, true, NULL},
        {400, "RequestTimeout", AK_TIMEOUT, true, NULL},
        {400, "IncompleteBody", AK_UNAVAILABLE, true, NULL},
        {400, "BadDigest", AK_CORRUPT, true, "changed while they were sent"},
        {400, "XAmzContentSHA256Mismatch", AK_CORRUPT, true, NULL},
        {409, "OperationAborted", AK_CONFLICT, true, NULL},
        {400, "InvalidArgument", AK_INVALID, false, "400 InvalidArgument: told by the fake"},
        {403, "AccessDenied", AK_FORBIDDEN, false,
         "403 AccessDenied: told by the fake: check that"},
        {403, "SignatureDoesNotMatch", AK_FORBIDDEN, false, "check secret_access_key"},
        {403, "InvalidAccessKeyId", AK_FORBIDDEN, false, "check access_key_id"},
        {403, NULL, AK_FORBIDDEN, false, "403: check the access key"},
        {401, NULL, AK_FORBIDDEN, false, "403, told as 401"},
        {404, "XAdminUserNotFound", AK_FORBIDDEN, false, "403, told as 404 XAdminUserNotFound"},
        {404, "UnknownThing", AK_FORBIDDEN, false, "403, told as 404"},
        {404, "NoSuchBucket", AK_INVALID, false, "create the bucket"},
        {405, "MethodNotAllowed", AK_UNSUPPORTED, false, NULL},
        {409, "ObjectParentIsFile", AK_CONFLICT, false, "folder of this one"},
        {411, NULL, AK_UNSUPPORTED, false, NULL},
        {412, "PreconditionFailed", AK_EXISTS, false, NULL},
        {413, "EntityTooLarge", AK_TOO_BIG, false, NULL},
        {501, "NotImplemented", AK_UNSUPPORTED, false, NULL},
        {507, "XMinioStorageFull", AK_NO_SPACE, false, "507 XMinioStorageFull"},
        {302, NULL, AK_INVALID, false, "is the endpoint that of an S3 API?"},
        {418, NULL, AK_INVALID, false, "418"},
    };
    struct ak_err err;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ak_objstore *store = fake_open();
        fake_add_rule((struct fake_rule){.method = "PUT",
                                         .times = 1000,
                                         .kind = FAKE_ANSWER,
                                         .status = rows[i].status,
                                         .code = rows[i].code});
        enum ak_rc rc = put(store, "k", "v", &err);
        ak_test_counted();
        if (rc != rows[i].want || fake.requests != (rows[i].again ? 6u : 1u) ||
            (rows[i].says && !strstr(err.text, rows[i].says))) {
            ak_test_fail(__FILE__, __LINE__, "%d %s gave %s after %u requests: %s", rows[i].status,
                         rows[i].code ? rows[i].code : "", ak_rc_name(rc), fake.requests, err.text);
        }
        CHECK(!rows[i].again || strstr(err.text, "after 5 retries"));
        CHECK_INT(fake.sleeps, rows[i].again ? 5 : 0);
        fake_no_rules();
        CHECK_OK(put(store, "k", "v", &err));
        fake_done(store);
    }
}

TEST(s3, broken_connections_are_tried_again_and_lost_trust_is_not)
{
    static const struct {
        enum ak_httpc_failure failure;
        enum ak_rc want;
        bool again;
    } rows[] = {{AK_HTTPC_CONNECT, AK_UNAVAILABLE, true},  {AK_HTTPC_SEND, AK_UNAVAILABLE, true},
                {AK_HTTPC_RECEIVE, AK_UNAVAILABLE, true},  {AK_HTTPC_STALL, AK_TIMEOUT, true},
                {AK_HTTPC_PROTOCOL, AK_UNAVAILABLE, true}, {AK_HTTPC_DEADLINE, AK_TIMEOUT, false},
                {AK_HTTPC_TRUST, AK_INVALID, false},       {AK_HTTPC_LOCAL, AK_NOMEM, false}};
    struct ak_err err;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ak_objstore *store = fake_open();
        fake_add_rule(
            (struct fake_rule){.times = 1000, .kind = FAKE_FAILURE, .failure = rows[i].failure});
        CHECK_RC(rows[i].want, put(store, "k", "v", &err));
        CHECK_INT(fake.requests, rows[i].again ? 6 : 1);
        fake_done(store);
    }
}

static void count_trouble(void *ctx)
{
    ++*(unsigned *)ctx;
}

TEST(s3, trouble_is_told_and_one_that_is_known_to_be_away_is_not_tried_again)
{
    struct ak_err err;
    struct ak_arena arena;
    struct ak_object object;
    unsigned told = 0;
    struct ak_objstore *store = fake_open();
    ak_arena_init(&arena, 0);
    CHECK_OK(put(store, "a", "1", &err));
    store->ops->on_trouble(store, count_trouble, &told);
    fake_add_rule((struct fake_rule){
        .method = "HEAD", .times = 2, .kind = FAKE_ANSWER, .status = 500, .code = "InternalError"});
    CHECK_OK(ak_objstore_head(store, AK_STR("a"), &arena, &object, &err));
    CHECK_INT(told, 2);
    fake_add_rule((struct fake_rule){
        .method = "HEAD", .times = 1, .kind = FAKE_ANSWER, .status = 403, .code = "AccessDenied"});
    CHECK_RC(AK_FORBIDDEN, ak_objstore_head(store, AK_STR("a"), &arena, &object, &err));
    CHECK_INT(told, 2);
    store->ops->set_away(store, true);
    fake_add_rule((struct fake_rule){
        .method = "HEAD", .times = 1, .kind = FAKE_ANSWER, .status = 500, .code = "InternalError"});
    CHECK_RC(AK_UNAVAILABLE, ak_objstore_head(store, AK_STR("a"), &arena, &object, &err));
    CHECK_INT(told, 3);
    CHECK_OK(store->ops->ask(store, &err)); /* it is asked all the same */
    fake_add_rule((struct fake_rule){
        .method = "HEAD", .times = 1, .kind = FAKE_ANSWER, .status = 503, .code = "SlowDown"});
    CHECK_RC(AK_UNAVAILABLE, store->ops->ask(store, &err)); /* once */
    store->ops->set_away(store, false);
    CHECK_OK(ak_objstore_head(store, AK_STR("a"), &arena, &object, &err));
    ak_arena_release(&arena);
    fake_done(store);
}

TEST(s3, each_operation_outlives_failures_that_pass)
{
    struct ak_err err;
    struct ak_arena arena;
    struct ak_object object;
    struct ak_object *objects = NULL;
    size_t count = 0;
    char part[2];
    ak_arena_init(&arena, 0);
    for (int kind = 0; kind < 3; kind++) {
        for (unsigned skip = 0; skip < 6; skip++) {
            struct ak_objstore *store = fake_open();
            fake_add_rule(
                (struct fake_rule){.skip = skip,
                                   .times = 2,
                                   .kind = kind == 0   ? FAKE_ANSWER
                                           : kind == 1 ? FAKE_FAILURE
                                                       : FAKE_LOST,
                                   .status = 500,
                                   .code = "InternalError",
                                   .failure = kind == 1 ? AK_HTTPC_CONNECT : AK_HTTPC_RECEIVE});
            CHECK_OK(put(store, "k", "value", &err));
            CHECK_OK(ak_objstore_head(store, AK_STR("k"), &arena, &object, &err));
            CHECK_OK(ak_objstore_get_range(store, AK_STR("k"), 1, part, 2, &err));
            CHECK(memcmp(part, "al", 2) == 0);
            check_object(store, "k", "value");
            CHECK_OK(ak_objstore_list(store, AK_STR_NONE, AK_STR_NONE, 10, &arena, &objects, &count,
                                      &err));
            CHECK_INT(count, 1);
            CHECK_OK(ak_objstore_remove(store, AK_STR("k"), &err));
            CHECK_INT(fake.count, 0);
            fake_done(store);
        }
    }
    ak_arena_release(&arena);
}

TEST(s3, a_server_that_asks_to_slow_down_is_given_time_and_retry_after_is_obeyed)
{
    struct ak_err err;
    struct ak_objstore *store = fake_open();
    fake_add_rule((struct fake_rule){.times = 1,
                                     .kind = FAKE_ANSWER,
                                     .status = 503,
                                     .code = "SlowDown",
                                     .headers = "Retry-After: 7\r\n"});
    CHECK_OK(put(store, "k", "v", &err));
    CHECK_INT(fake.sleeps, 1);
    CHECK_INT(fake.slept_us, 7000000);
    fake_done(store);
}

/* --- Repairs --- */

TEST(s3, a_wrong_clock_is_repaired_once_and_remembered)
{
    struct ak_err err;
    struct ak_arena arena;
    struct ak_object object;
    struct ak_objstore *store = fake_open();
    ak_arena_init(&arena, 0);
    fake.clock_us = ak_now_us(&fake.clock.clock) - 86400LL * 1000000;
    CHECK_OK(put(store, "k", "v", &err));
    CHECK_INT(fake.requests, 2);
    CHECK_OK(put(store, "k", "v", &err));
    CHECK_INT(fake.requests, 3);
    fake.clock_us += 3600LL * 1000000; /* and a HEAD, whose refusal has no code */
    CHECK_OK(ak_objstore_head(store, AK_STR("k"), &arena, &object, &err));
    CHECK_INT(fake.requests, 5);
    CHECK_INT(fake.sleeps, 0);
    ak_arena_release(&arena);
    fake_done(store);
}

TEST(s3, a_clock_that_cannot_be_repaired_is_refused_and_said)
{
    struct ak_err err;
    struct ak_objstore *store = fake_open();
    fake_add_rule((struct fake_rule){.times = 1000,
                                     .kind = FAKE_ANSWER,
                                     .status = 403,
                                     .code = "RequestTimeTooSkewed",
                                     .headers = "Date: Tue, 03 Nov 2026 10:20:30 GMT\r\n"});
    CHECK_RC(AK_FORBIDDEN, put(store, "k", "v", &err));
    CHECK_INT(fake.requests, 2);
    CHECK(strstr(err.text, "403 RequestTimeTooSkewed") && strstr(err.text, "clock"));
    fake_done(store);
}

TEST(s3, the_bucket_s_region_is_followed_once)
{
    static const struct fake_rule answers[] = {
        {.kind = FAKE_ANSWER,
         .status = 301,
         .code = "PermanentRedirect",
         .headers = "x-amz-bucket-region: eu-west-3\r\n"},
        {.kind = FAKE_ANSWER,
         .status = 400,
         .code = "AuthorizationHeaderMalformed",
         .headers = "x-amz-bucket-region: eu-west-3\r\n"},
    };
    struct ak_err err;
    for (size_t i = 0; i < 3; i++) {
        struct ak_objstore *store = fake_open();
        fake.region = "eu-west-3"; /* refuses others with <Region> in the body */
        if (i < 2) {
            fake_add_rule(answers[i]);
        }
        CHECK_OK(put(store, "k", "v", &err));
        CHECK_INT(fake.requests, 2);
        CHECK_OK(put(store, "k", "v", &err));
        CHECK_INT(fake.requests, 3);
        fake_done(store);
    }
    struct ak_objstore *store = fake_open();
    fake_add_rule((struct fake_rule){.times = 1000,
                                     .kind = FAKE_ANSWER,
                                     .status = 301,
                                     .headers = "x-amz-bucket-region: eu-west-3\r\n"});
    CHECK_RC(AK_INVALID, put(store, "k", "v", &err));
    CHECK_INT(fake.requests, 2);
    CHECK(strstr(err.text, "region"));
    fake_done(store);
}

TEST(s3, aws_is_addressed_by_region)
{
    struct ak_err err;
    struct ak_objstore *store = NULL;
    struct ak_s3_options options = fake_options();
    fake_init();
    options.endpoint = NULL;
    fake.region = "eu-west-3";
    CHECK_OK(fake_try_open(&options, false, &store, &err));
    CHECK_INT(logged("https://s3.us-east-1.amazonaws.com/b?"), 1);
    CHECK(logged("https://s3.eu-west-3.amazonaws.com/b") >= 3);
    fake_done(store);
}

TEST(s3, a_temporary_redirect_is_signed_anew_for_its_host_and_not_kept)
{
    struct ak_err err;
    struct ak_objstore *store = fake_open();
    fake_add_rule((struct fake_rule){.kind = FAKE_ANSWER,
                                     .status = 307,
                                     .code = "TemporaryRedirect",
                                     .headers = "Location: http://other:8000/b/k\r\n"});
    CHECK_OK(put(store, "k", "v", &err));
    CHECK_INT(logged("PUT http://other:8000/b/k"), 1);
    CHECK_OK(put(store, "k", "v", &err));
    CHECK_INT(logged("PUT http://fake:9000/b/k"), 2);
    fake_add_rule((struct fake_rule){.times = 1000,
                                     .kind = FAKE_ANSWER,
                                     .status = 307,
                                     .headers = "Location: http://other:8000/b/k\r\n"});
    fake.requests = 0;
    CHECK_RC(AK_UNAVAILABLE, put(store, "k", "v", &err));
    CHECK_INT(fake.requests, 4);
    fake_done(store);
}

/* --- Downloads --- */

static void many_bytes(struct ak_buf *out, size_t len)
{
    ak_buf_init(out, 0);
    for (size_t i = 0; i < len; i++) {
        ak_buf_add_char(out, (char)('a' + (i * 7 + i / 26) % 26));
    }
}

TEST(s3, a_broken_download_goes_on_at_the_exact_byte)
{
    struct ak_err err;
    struct ak_buf bytes;
    struct ak_rand rand;
    ak_rand_seed(&rand, ak_test_seed());
    many_bytes(&bytes, 100000);
    for (int round = 0; round < 50; round++) {
        struct ak_buf out;
        struct ak_objstore *store = fake_open();
        fake.no_etags = round % 5 == 4; /* then it begins anew */
        fake_store(AK_STR("k"), ak_buf_str(&bytes), AK_STR_NONE);
        ak_buf_init(&out, 0);
        ak_buf_add_str(&out, AK_STR("before"));
        unsigned cuts = fake.no_etags ? 2 : 8;
        for (unsigned i = 0; i < cuts; i++) { /* more than the retries: each brought bytes */
            fake_add_rule((struct fake_rule){
                .method = "GET", .kind = FAKE_CUT, .at = 1 + ak_rand_below(&rand, 100000 / cuts)});
        }
        CHECK_OK(ak_objstore_get(store, AK_STR("k"), &out, &err));
        CHECK_INT(out.len, 100006);
        CHECK(memcmp(out.p + 6, bytes.p, bytes.len) == 0 && memcmp(out.p, "before", 6) == 0);
        ak_buf_release(&out);
        fake_done(store);
    }
    ak_buf_release(&bytes);
}

TEST(s3, a_download_never_mixes_two_objects)
{
    struct ak_buf bytes;
    many_bytes(&bytes, 50000);
    struct ak_objstore *store = fake_open();
    fake_store(AK_STR("k"), ak_buf_str(&bytes), AK_STR_NONE);
    fake_add_rule((struct fake_rule){.method = "GET", .kind = FAKE_CUT, .at = 30000});
    fake_add_rule((struct fake_rule){.method = "GET", .kind = FAKE_REPLACE, .headers = "new"});
    check_object(store, "k", "new");
    CHECK_INT(fake.requests, 3);
    fake_done(store);
    ak_buf_release(&bytes);
}

TEST(s3, an_object_over_the_ceiling_is_refused_and_the_buffer_is_as_before)
{
    struct ak_err err;
    struct ak_buf bytes;
    struct ak_buf out;
    many_bytes(&bytes, 50000);
    struct ak_objstore *store = fake_open();
    fake_store(AK_STR("k"), ak_buf_str(&bytes), AK_STR_NONE);
    ak_buf_init(&out, 40000);
    ak_buf_add_str(&out, AK_STR("x"));
    CHECK_RC(AK_TOO_BIG, ak_objstore_get(store, AK_STR("k"), &out, &err));
    CHECK_INT(out.len, 1);
    CHECK_INT(fake.requests, 1);
    ak_buf_release(&out);
    ak_buf_release(&bytes);
    fake_done(store);
}

/* --- Listings --- */

static void check_list(struct ak_objstore *store, const char *prefix, const char *after,
                       size_t limit, const char *want)
{
    struct ak_err err;
    struct ak_arena arena;
    struct ak_buf got;
    struct ak_object *objects = NULL;
    size_t count = 0;
    ak_arena_init(&arena, 0);
    ak_buf_init(&got, 0);
    CHECK_OK(ak_objstore_list(store, ak_str_of(prefix), ak_str_of(after), limit, &arena, &objects,
                              &count, &err));
    for (size_t i = 0; i < count; i++) {
        ak_buf_add_fmt(&got, "%.*s|", AK_STR_ARG(objects[i].key));
    }
    CHECK_STR(ak_buf_cstr(&got), want);
    ak_buf_release(&got);
    ak_arena_release(&arena);
}

TEST(s3, lists_in_order_by_pages_with_prefix_and_start)
{
    static const char *const keys[] = {"b/2", "b/1", "a b+%41&<>\"'", "b/\xC3\xA9", "c", "b/10"};
    struct ak_err err;
    for (int variant = 0; variant < 4; variant++) {
        struct ak_objstore *store = fake_open();
        fake.page_max = variant % 2 ? 2 : 0;
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
            CHECK_OK(put(store, keys[i], "x", &err));
        }
        check_list(store, "", "", 1000, "a b+%41&<>\"'|b/1|b/10|b/2|b/\xC3\xA9|c|");
        check_list(store, "b/", "", 1000, "b/1|b/10|b/2|b/\xC3\xA9|");
        check_list(store, "b/", "b/10", 1000, "b/2|b/\xC3\xA9|");
        check_list(store, "b/", "", 3, "b/1|b/10|b/2|");
        check_list(store, "zz", "", 3, "");
        fake_done(store);
    }
}

TEST(s3, a_server_that_ends_a_list_early_is_asked_whether_that_was_all)
{
    struct ak_err err;
    struct ak_objstore *store = fake_open();
    fake.page_max = 3;
    fake.loses = 2;
    for (char c = 'a'; c <= 'j'; c++) {
        const char key[2] = {c, 0};
        CHECK_OK(put(store, key, "x", &err));
    }
    check_list(store, "", "", 1000, "a|b|c|d|e|f|g|h|i|j|");
    check_list(store, "", "c", 1000, "d|e|f|g|h|i|j|");
    check_list(store, "", "c", 2, "d|e|");
    check_list(store, "", "j", 2, "");
    fake_done(store);
}

TEST(s3, keys_that_are_none_of_ours_are_passed_over_and_the_list_goes_on)
{
    struct ak_objstore *store = fake_open();
    fake.page_max = 2;
    fake_store(AK_STR("a/"), AK_STR_NONE, AK_STR_NONE); /* a console's folder */
    fake_store(AK_STR("b//c"), AK_STR_NONE, AK_STR_NONE);
    fake_store(AK_STR("c"), AK_STR_NONE, AK_STR_NONE);
    fake_store(AK_STR("d/../e"), AK_STR_NONE, AK_STR_NONE);
    fake_store(AK_STR("f"), AK_STR_NONE, AK_STR_NONE);
    check_list(store, "", "", 10, "c|f|");
    check_list(store, "", "", 1, "c|");
    fake_done(store);
}

TEST(s3, a_prefix_stands_before_every_key_and_is_cut_from_listings)
{
    struct ak_err err;
    struct ak_objstore *store = NULL;
    struct ak_s3_options options = fake_options();
    fake_init();
    options.prefix = "akidb/p d/";
    CHECK_OK(fake_try_open(&options, false, &store, &err));
    fake_store(AK_STR("other"), AK_STR_NONE, AK_STR_NONE);
    CHECK_OK(put(store, "x/y", "v", &err));
    CHECK(fake_find(AK_STR("akidb/p d/x/y")) != NULL);
    check_object(store, "x/y", "v");
    check_list(store, "", "", 10, "x/y|");
    check_list(store, "x", "w", 10, "x/y|");
    check_list(store, "", "x/y", 10, "");
    CHECK_OK(ak_objstore_remove(store, AK_STR("x/y"), &err));
    CHECK_INT(fake.count, 1);
    fake_done(store);
}

TEST(s3, a_listing_that_makes_no_sense_is_refused)
{
    static const char *const bodies[] = {
        "",
        "<html>",
        "<html/>",
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        ("<ListBucketResult><Contents><Key>b</Key></Contents><Contents><Key>a</Key></Contents>"
         "</ListBucketResult>"),
        "<ListBucketResult><Contents><Key>b</Key><Size>many</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>b</Key>",
    };
    struct ak_err err;
    struct ak_arena arena;
    struct ak_object *objects = NULL;
    size_t count = 0;
    ak_arena_init(&arena, 0);
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        struct ak_objstore *store = fake_open();
        char raw[512];
        (void)snprintf(raw, sizeof raw, "%s", bodies[i]);
        fake_add_rule((struct fake_rule){
            .method = "GET", .kind = FAKE_RAW, .status = 200, .code = raw, .times = 200});
        enum ak_rc rc =
            ak_objstore_list(store, AK_STR_NONE, AK_STR_NONE, 10, &arena, &objects, &count, &err);
        ak_test_counted();
        if (rc != AK_CORRUPT && rc != AK_UNSUPPORTED) {
            ak_test_fail(__FILE__, __LINE__, "'%s' gave %s", bodies[i], ak_rc_name(rc));
        }
        fake_done(store);
    }
    ak_arena_release(&arena);
}

/* --- Opening --- */

TEST(s3, options_that_cannot_be_right_are_refused_by_name)
{
    static const struct {
        const char *endpoint;
        const char *bucket;
        const char *region;
        const char *prefix;
        const char *secret;
        const char *says;
    } rows[] = {
        {"fake:9000", "b", NULL, NULL, "SK", "endpoint"},
        {"ftp://fake", "b", NULL, NULL, "SK", "endpoint"},
        {"http://", "b", NULL, NULL, "SK", "endpoint"},
        {"http://user@h", "b", NULL, NULL, "SK", "endpoint"},
        {"http://h?x", "b", NULL, NULL, "SK", "endpoint"},
        {"http://h", NULL, NULL, NULL, "SK", "bucket"},
        {"http://h", "", NULL, NULL, "SK", "bucket"},
        {"http://h", "a/b", NULL, NULL, "SK", "bucket"},
        {"http://h", "..", NULL, NULL, "SK", "bucket"},
        {"http://h", "b", "us east", NULL, "SK", "region"},
        {"http://h", "b", NULL, "/x/", "SK", "prefix"},
        {"http://h", "b", NULL, "x//", "SK", "prefix"},
        {"http://h", "b", NULL, NULL, NULL, "secret_access_key"},
    };
    struct ak_err err;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ak_objstore *store = NULL;
        struct ak_s3_options options = fake_options();
        options.endpoint = rows[i].endpoint;
        options.bucket = rows[i].bucket;
        options.region = rows[i].region;
        options.prefix = rows[i].prefix;
        options.secret_access_key = rows[i].secret;
        fake_init();
        CHECK_RC(AK_INVALID, fake_try_open(&options, false, &store, &err));
        CHECK(strstr(err.text, rows[i].says));
        CHECK(!store && fake.requests == 0);
        fake_release();
    }
}

TEST(s3, bucket_in_path_or_host_and_an_endpoint_with_a_path)
{
    static const struct {
        const char *endpoint;
        bool virtual_host;
        const char *want;
        const char *host;
    } rows[] = {
        {"http://h:9000", false, "http://h:9000/b", "h:9000"},
        {"http://h:80/", false, "http://h:80/b", "h"},
        {"https://h:443/base/", false, "https://h:443/base/b", "h"},
        {"http://h:9000", true, "http://b.h:9000", "b.h:9000"},
        {NULL, true, "https://b.s3.us-east-1.amazonaws.com", "b.s3.us-east-1.amazonaws.com"},
    };
    struct ak_err err;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct s3_place *place = NULL;
        char url[256];
        CHECK_OK(ak_s3_place_new(rows[i].endpoint, "us-east-1", "b", rows[i].virtual_host, &place,
                                 &err));
        (void)snprintf(url, sizeof url, "%s%s", place->base, place->root);
        CHECK_STR(url, rows[i].want);
        CHECK_STR(place->host, rows[i].host);
        ak_s3_place_free(place);
    }
}

TEST(s3, opening_tells_what_is_wrong_and_a_store_that_is_away_may_be_opened_lazily)
{
    struct ak_err err;
    struct ak_objstore *store = NULL;
    const struct ak_s3_options options = fake_options();
    fake_init();
    fake_add_rule((struct fake_rule){
        .times = 1000, .kind = FAKE_ANSWER, .status = 403, .code = "InvalidAccessKeyId"});
    CHECK_RC(AK_FORBIDDEN, fake_try_open(&options, true, &store, &err));
    CHECK(strstr(err.text, "s3 bucket 'b' at http://fake:9000") && strstr(err.text, "403"));
    CHECK_INT(fake.requests, 1);
    fake_no_rules();
    fake_add_rule(
        (struct fake_rule){.times = 1000, .kind = FAKE_FAILURE, .failure = AK_HTTPC_CONNECT});
    CHECK_RC(AK_UNAVAILABLE, fake_try_open(&options, false, &store, &err));
    fake.requests = 0;
    CHECK_OK(fake_try_open(&options, true, &store, &err));
    CHECK_INT(fake.requests, 1);
    CHECK_RC(AK_UNAVAILABLE, put(store, "k", "v", &err));
    fake_no_rules();
    CHECK_OK(put_new(store, "k", "v", &err)); /* it is probed when it is there */
    CHECK_RC(AK_EXISTS, put_new(store, "k", "w", &err));
    fake_done(store);
}

TEST(s3, a_key_that_may_only_read_opens_the_store)
{
    struct ak_err err;
    struct ak_objstore *store = NULL;
    const struct ak_s3_options options = fake_options();
    fake_init();
    fake_store(AK_STR("k"), AK_STR("v"), AK_STR_NONE);
    fake_add_rule((struct fake_rule){.method = "PUT",
                                     .times = 1000,
                                     .kind = FAKE_ANSWER,
                                     .status = 403,
                                     .code = "AccessDenied"});
    CHECK_OK(fake_try_open(&options, false, &store, &err));
    check_object(store, "k", "v");
    CHECK_RC(AK_FORBIDDEN, put(store, "k", "w", &err));
    fake_done(store);
}

TEST(s3, retries_and_uploads_are_counted)
{
    struct ak_err err;
    struct ak_objstore *store = NULL;
    struct ak_s3_options options = fake_options();
    struct ak_metrics *metrics = ak_metrics_open();
    const struct ak_str label = AK_STR("put");
    fake_init();
    options.metrics = metrics;
    CHECK_OK(fake_try_open(&options, false, &store, &err));
    fake_add_rule((struct fake_rule){.times = 2, .kind = FAKE_ANSWER, .status = 500});
    CHECK_OK(put(store, "k", "12345", &err));
    CHECK(ak_series_value(ak_metrics_series(metrics, AK_METRIC_RETRIES, &label, 1)) == 2);
    CHECK(ak_series_value(ak_metrics_series(metrics, AK_METRIC_S3_UPLOAD_BYTES, NULL, 0)) == 5);
    CHECK(ak_series_value(ak_metrics_series(metrics, AK_METRIC_S3_UPLOAD_SECONDS, NULL, 0)) == 1);
    fake_done(store);
    ak_metrics_close(metrics);
}

TEST(s3, dates_of_http_are_read_and_others_refused)
{
    CHECK_INT(ak_s3_http_date_us(AK_STR("Sun, 06 Nov 1994 08:49:37 GMT")), 784111777000000);
    CHECK_INT(ak_s3_http_date_us(AK_STR("Sunday, 06-Nov-94 08:49:37 GMT")), -1);
    CHECK_INT(ak_s3_http_date_us(AK_STR("Sun, 06 Nox 1994 08:49:37 GMT")), -1);
    CHECK_INT(ak_s3_http_date_us(AK_STR("Sun, 99 Nov 1994 08:49:37 GMT")), -1);
    CHECK_INT(ak_s3_http_date_us(AK_STR_NONE), -1);
}

/* --- Memory --- */

TEST(s3, whichever_allocation_fails_the_store_says_so_and_works_after_it)
{
    struct ak_err err;
    struct ak_arena arena;
    struct ak_object *objects = NULL;
    size_t count = 0;
    struct ak_objstore *store = fake_open();
    for (int operation = 0; operation < 4; operation++) {
        bool fired = true;
        for (int64_t n = 0; fired; n++) {
            struct ak_buf out;
            enum ak_rc rc = AK_OK;
            ak_buf_init(&out, 0);
            ak_arena_init(&arena, 0);
            ak_fault_alloc_at(n);
            switch (operation) {
            case 0:
                rc = put(store, "k", "value", &err);
                break;
            case 1:
                rc = ak_objstore_get(store, AK_STR("k"), &out, &err);
                CHECK(rc != AK_OK || ak_str_eq(ak_buf_str(&out), AK_STR("value")));
                CHECK(rc == AK_OK || out.len == 0);
                break;
            case 2:
                rc = ak_objstore_list(store, AK_STR_NONE, AK_STR_NONE, 10, &arena, &objects, &count,
                                      &err);
                CHECK(rc != AK_OK || count == 1);
                break;
            default:
                rc = put_new(store, "k", "w", &err);
                rc = rc == AK_EXISTS ? AK_OK : rc;
            }
            fired = ak_fault_alloc_fired();
            ak_fault_alloc_at(-1);
            CHECK(rc == AK_OK || (fired && rc == AK_NOMEM));
            ak_buf_release(&out);
            ak_arena_release(&arena);
        }
        check_object(store, "k", "value");
    }
    fake_done(store);
}

TEST_MAIN()
