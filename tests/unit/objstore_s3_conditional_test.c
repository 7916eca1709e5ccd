/* objstore_s3_conditional_test.c — conditional puts: one wins, an own one is known again, and the
 * probe says what it can. */
#include "unit/s3_objects.h"

TEST(s3_conditional, only_one_conditional_put_wins)
{
    struct ak_err err;
    struct ak_objstore *store = fake_open();
    CHECK_OK(put_new(store, "k", "first", &err));
    CHECK_RC(AK_EXISTS, put_new(store, "k", "second", &err));
    check_object(store, "k", "first");
    fake_done(store);
}

TEST(s3_conditional, a_conditional_put_whose_answer_was_lost_finds_itself)
{
    struct ak_err err;
    struct ak_objstore *store = fake_open();
    fake_add_rule((struct fake_rule){.method = "PUT", .kind = FAKE_LOST});
    CHECK_OK(put_new(store, "k", "mine", &err));
    check_object(store, "k", "mine");
    CHECK_INT(logged("HEAD "), 1);
    fake_done(store);
}

TEST(s3_conditional, a_conditional_put_that_broke_before_another_won_has_lost)
{
    struct ak_err err;
    struct ak_objstore *store = fake_open();
    fake_add_rule(
        (struct fake_rule){.method = "PUT", .kind = FAKE_FAILURE, .failure = AK_HTTPC_SEND});
    fake_add_rule((struct fake_rule){.method = "PUT", .kind = FAKE_REPLACE, .headers = "theirs"});
    CHECK_RC(AK_EXISTS, put_new(store, "k", "mine", &err));
    check_object(store, "k", "theirs");
    fake_done(store);
}

TEST(s3_conditional, a_conflict_with_a_write_under_way_is_looked_at_again)
{
    struct ak_err err;
    const struct fake_rule conflict = {
        .method = "PUT", .kind = FAKE_ANSWER, .status = 409, .code = "ConditionalRequestConflict"};
    struct ak_objstore *store = fake_open();
    fake_add_rule(conflict);
    CHECK_OK(put_new(store, "k", "mine", &err));
    check_object(store, "k", "mine");
    fake_add_rule(conflict);
    CHECK_RC(AK_EXISTS, put_new(store, "k", "other", &err));
    check_object(store, "k", "mine");
    fake_done(store);
}

TEST(s3_conditional, a_server_that_ignores_conditions_is_found_out_and_not_trusted)
{
    struct ak_err err;
    struct ak_objstore *store = NULL;
    const struct ak_s3_options options = fake_options();
    fake_init();
    fake.no_conditions = true;
    CHECK_OK(fake_try_open(&options, false, &store, &err));
    CHECK_INT(fake.count, 0); /* the probe is gone */
    CHECK_OK(put(store, "k", "v", &err));
    CHECK_RC(AK_UNSUPPORTED, put_new(store, "new", "v", &err));
    CHECK(strstr(err.text, "If-None-Match"));
    fake_done(store);
}

TEST(s3_conditional, a_probe_whose_answer_was_lost_meets_itself_and_knows_enough)
{
    struct ak_err err;
    struct ak_objstore *store = NULL;
    const struct ak_s3_options options = fake_options();
    fake_init();
    fake_add_rule((struct fake_rule){.method = "PUT", .part = "probe", .kind = FAKE_LOST});
    CHECK_OK(fake_try_open(&options, false, &store, &err));
    CHECK_INT(fake.count, 0); /* the probe is gone */
    CHECK_OK(put_new(store, "k", "v", &err));
    CHECK_RC(AK_EXISTS, put_new(store, "k", "w", &err));
    fake_done(store);
}

TEST(s3_conditional, a_probe_refused_for_another_reason_says_nothing_about_the_server)
{
    struct ak_err err;
    struct ak_objstore *store = NULL;
    const struct ak_s3_options options = fake_options();
    fake_init();
    fake_add_rule(
        (struct fake_rule){.times = 1, .kind = FAKE_FAILURE, .failure = AK_HTTPC_CONNECT});
    CHECK_OK(fake_try_open(&options, true, &store, &err));
    fake_add_rule((struct fake_rule){.method = "PUT",
                                     .part = "probe",
                                     .kind = FAKE_ANSWER,
                                     .times = 2,
                                     .status = 400,
                                     .code = "ExpiredToken"});
    CHECK_RC(AK_FORBIDDEN, put_new(store, "k", "v", &err));
    fake_no_rules();
    CHECK_OK(put_new(store, "k", "v", &err));
    CHECK_RC(AK_EXISTS, put_new(store, "k", "w", &err));
    fake_done(store);
}

/* httpc sends again by itself on a kept connection that had closed: no try of ours has broken. */
TEST(s3_conditional, a_conditional_put_that_was_sent_twice_finds_itself)
{
    struct ak_err err;
    struct ak_objstore *store = fake_open();
    fake_add_rule((struct fake_rule){.method = "PUT", .kind = FAKE_TWICE});
    CHECK_OK(put_new(store, "k", "mine", &err));
    check_object(store, "k", "mine");
    fake_done(store);
}

TEST_MAIN()
