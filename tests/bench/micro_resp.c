/* What parsing a request and writing a reply cost, in nanoseconds each, on one core and in the
 * cache. */
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/resp.h"
#include "common/slot.h"

#define ROUNDS 200000u
#define PIPELINE 32u

static double per(uint64_t start_ns, uint64_t count)
{
    return (double)(clk_mono_ns() - start_ns) / (double)count;
}

static struct buf pipeline(void)
{
    struct buf b = {0};
    for (unsigned i = 0; i < PIPELINE; i++) {
        buf_addf(&b, "*2\r\n$3\r\nGET\r\n$16\r\nkey:%012u\r\n", i);
    }
    return b;
}

int main(void)
{
    const struct resp_limits limits = {.bulk_bytes_max = 512u << 20, .args_max = RESP_ARGS_MAX};
    struct buf in = pipeline();
    struct span argv[PIPELINE * 2];
    uint64_t sum = 0;
    uint64_t start = clk_mono_ns();
    for (unsigned r = 0; r < ROUNDS; r++) {
        size_t at = 0;
        for (unsigned i = 0; i < PIPELINE; i++) {
            uint32_t argc = 0;
            at += resp_parse_whole(in.p + at, in.len - at, &limits, argv + i * 2, 2, &argc);
        }
        sum += at + argv[1].len;
    }
    printf("parse GET, one pass     %6.1f ns\n", per(start, (uint64_t)ROUNDS * PIPELINE));

    struct resp_parser p;
    struct errmsg error;
    resp_parser_init(&p);
    start = clk_mono_ns();
    for (unsigned r = 0; r < ROUNDS / 4; r++) {
        size_t at = 0;
        while (at < in.len) {
            size_t used = 0;
            (void)resp_parse(&p, in.p + at, in.len - at, &limits, &used, &error);
            at += used;
        }
        sum += at;
    }
    printf("parse GET, incremental  %6.1f ns\n", per(start, (uint64_t)ROUNDS / 4 * PIPELINE));
    resp_parser_free(&p);

    char value[32] = "0123456789abcdef0123456789abcde";
    struct buf out = {0};
    struct resp_out o = {&out, 2};
    start = clk_mono_ns();
    for (unsigned r = 0; r < ROUNDS; r++) {
        for (unsigned i = 0; i < PIPELINE; i++) {
            resp_bulk(&o, value, sizeof value);
        }
        sum += buf_used(&out);
        buf_consume(&out, buf_used(&out));
    }
    printf("write $32               %6.1f ns\n", per(start, (uint64_t)ROUNDS * PIPELINE));
    buf_free(&out);

    start = clk_mono_ns();
    for (unsigned r = 0; r < ROUNDS; r++) {
        for (unsigned i = 0; i < PIPELINE; i++) {
            sum += slot_of(argv[i * 2 + 1]);
        }
    }
    printf("slot of a 16 B key      %6.1f ns\n", per(start, (uint64_t)ROUNDS * PIPELINE));
    buf_free(&in);
    return sum == 0;
}
