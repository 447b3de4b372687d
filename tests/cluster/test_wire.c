#include "cluster/internal.h"
#include "tests/cluster/redis_server.h"

static struct redis_server server;
static struct kb_error err;
static struct redis *redis;

static void test_smoke(void **state)
{
    redis_server_start(&server, NULL);
    CLEANUP(kb_freep) char *url = redis_server_url(&server, "/3?prefix=p");
    assert_ok(err, redis_open(&redis, &(struct redis_params){.url = url}, &err));
    assert_ok(err, wire_set_pulse(redis, "00112233445566778899aabbccddeeff", &err));
    char pulse[33];
    assert_ok(err, wire_pulse(redis, pulse, &err));
    assert_string_equal(pulse, "00112233445566778899aabbccddeeff");
    char id[WIRE_ID_BYTES];
    assert_ok(err, wire_offer(redis, 5, 6, id, &err));
    struct wire_offer offers[4];
    int n = 0;
    assert_ok(err, wire_take(redis, "n1", 10, offers, 4, &n, &err));
    assert_int_equal(n, 1);
    assert_string_equal(offers[0].id, id);
    assert_ok(err, wire_withdraw(redis, id, &err));
    char after[WIRE_ID_BYTES] = "$";
    struct wire_told told[4];
    assert_ok(err, wire_hear(redis, after, 10, told, 4, &n, &err));
    assert_int_equal(n, 0);
    assert_ok(err, wire_tell(redis, "n1", "secret", pulse, json_pack("{s:s}", "is", "beat"), &err));
    assert_ok(err, wire_hear(redis, after, 10, told, 4, &n, &err));
    assert_int_equal(n, 1);
    assert_true(wire_is_by(&told[0], "secret"));
    wire_told_free(&told[0]);
    char after2[WIRE_ID_BYTES] = "$";
    json_t *orders[4];
    int forged = 0;
    assert_ok(err, wire_orders(redis, "n1", "secret", after2, 10, orders, 4, &n, &forged, &err));
    assert_ok(err, wire_order(redis, "n1", "secret", json_pack("{s:s}", "is", "go"), &err));
    assert_ok(err, wire_orders(redis, "n1", "secret", after2, 10, orders, 4, &n, &forged, &err));
    assert_int_equal(n, 1);
    assert_string_equal(wire_is(orders[0]), "go");
    json_decref(orders[0]);
    bool is = false;
    assert_ok(err, wire_be_head(redis, "a", 1000, &is, &err));
    assert_true(is);
    assert_ok(err, wire_be_head(redis, "b", 1000, &is, &err));
    assert_false(is);
    assert_ok(err, wire_be_head(redis, "a", 1000, &is, &err));
    assert_true(is);
    assert_ok(err, wire_leave_head(redis, "a", &err));
    assert_ok(err, wire_be_head(redis, "b", 1000, &is, &err));
    assert_true(is);
    redis_close(&redis);
    redis_server_stop(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_smoke)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
