/* The request parser under arbitrary bytes. The first byte says how the rest arrives (in pieces of
 * which size) and whether the client is authenticated. Three ways of parsing must agree: the state
 * machine fed in pieces, the state machine given everything, and the one-pass way wherever it
 * accepts. The reply sizer must not read outside its bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/must.h"
#include "common/resp.h"

struct trace {
    uint64_t digest; /* of all arguments and results so far */
    size_t requests;
    size_t consumed;
};

static void mix(struct trace *t, const void *p, size_t n)
{
    const unsigned char *b = p;
    uint64_t h = t->digest ^ n;
    for (size_t i = 0; i < n; i++) {
        h = (h ^ b[i]) * 0x100000001b3u;
    }
    t->digest = h * 31 + 7;
}

static void note(struct trace *t, const struct span *argv, uint32_t argc)
{
    t->requests++;
    for (uint32_t i = 0; i < argc; i++) {
        mix(t, argv[i].p, argv[i].len);
    }
}

/* The state machine, `step` new bytes at a time, each time from a fresh exact-size copy. */
static struct trace in_pieces(const uint8_t *bytes, size_t len, size_t step,
                              const struct resp_limits *limits)
{
    struct trace t = {0};
    struct resp_parser p;
    struct errmsg error;
    resp_parser_init(&p);
    size_t have = step < len ? step : len;
    for (;;) {
        size_t n = have - t.consumed;
        char *copy = malloc(n == 0 ? 1 : n);
        must(copy != NULL);
        memcpy(copy, bytes + t.consumed, n);
        size_t used = 0;
        enum resp_result r = resp_parse(&p, copy, n, limits, &used, &error);
        if (r == RESP_REQUEST) {
            must(used > 0 && used <= n);
            note(&t, p.argv, p.argc);
            t.consumed += used;
        }
        free(copy);
        if (r == RESP_BAD) {
            must(strncmp(error.text, "Protocol error: ", 16) == 0);
            mix(&t, error.text, strlen(error.text));
            break;
        }
        if (r == RESP_MORE) {
            must(resp_wanted(&p) == 0 || resp_wanted(&p) > n);
            if (have == len) {
                break;
            }
            have = step < len - have ? have + step : len;
        }
    }
    resp_parser_free(&p);
    return t;
}

static void check_one_pass(const uint8_t *bytes, size_t len, const struct resp_limits *limits)
{
    struct span argv[16];
    struct resp_parser p;
    struct errmsg error;
    resp_parser_init(&p);
    size_t at = 0;
    while (at < len) {
        char *copy = malloc(len - at);
        must(copy != NULL);
        memcpy(copy, bytes + at, len - at);
        uint32_t argc = 0;
        size_t fast = resp_parse_whole(copy, len - at, limits, argv, 16, &argc);
        size_t used = 0;
        enum resp_result r = resp_parse(&p, copy, len - at, limits, &used, &error);
        if (fast != 0) {
            must(r == RESP_REQUEST && used == fast && p.argc == argc && argc > 0);
            for (uint32_t i = 0; i < argc; i++) {
                must(span_eq(argv[i], p.argv[i]));
            }
        }
        free(copy);
        if (r != RESP_REQUEST) {
            break;
        }
        at += used;
    }
    resp_parser_free(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct resp_limits limits = {
        .bulk_bytes_max = 1 << 20, .args_max = 1 << 20, .unauthenticated = (data[0] & 0x80) != 0};
    size_t step = 1u + (data[0] & 0x7Fu);
    data++;
    size--;
    struct trace a = in_pieces(data, size, step, &limits);
    struct trace b = in_pieces(data, size, SIZE_MAX, &limits);
    must(a.requests == b.requests && a.consumed == b.consumed && a.digest == b.digest);
    check_one_pass(data, size, &limits);
    int64_t n = resp_reply_size((const char *)data, size);
    must(n >= -1 && n <= (int64_t)size);
    return 0;
}
