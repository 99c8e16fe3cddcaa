/* Requests as bytes for a node: keys become inner keys (common/slot.h). */
#include "common/num.h"
#include "common/slot.h"
#include "proxy/proxy.h"

void encode_header(struct buf *b, size_t argc)
{
    char *p = buf_reserve(b, NUM_I64_MAX + 3);
    size_t n = 1;
    p[0] = '*';
    n += num_fmt_u64(p + n, argc);
    p[n++] = '\r';
    p[n++] = '\n';
    buf_commit(b, n);
}

static void bulk_header(struct buf *b, size_t len)
{
    char *p = buf_reserve(b, NUM_I64_MAX + 3);
    size_t n = 1;
    p[0] = '$';
    n += num_fmt_u64(p + n, len);
    p[n++] = '\r';
    p[n++] = '\n';
    buf_commit(b, n);
}

void encode_arg(struct buf *b, struct span arg)
{
    bulk_header(b, arg.len);
    buf_add(b, arg.p, arg.len);
    buf_add(b, "\r\n", 2);
}

void encode_key(struct buf *b, unsigned db, struct span key)
{
    bulk_header(b, key.len + (key_needs_prefix(db, key) ? 2 : 0));
    key_add_inner(b, db, key);
    buf_add(b, "\r\n", 2);
}

void encode_request(struct buf *b, unsigned db, const struct span *argv, uint32_t argc,
                    const int *idx, uint32_t n)
{
    encode_header(b, argc);
    uint32_t next = 0;
    for (uint32_t i = 0; i < argc; i++) {
        if (next < n && (uint32_t)idx[next] == i) {
            encode_key(b, db, argv[i]);
            next++;
        } else {
            encode_arg(b, argv[i]);
        }
    }
}

void encode_keyspace(struct buf *b, unsigned db, const struct span *argv, uint32_t argc)
{
    char n[NUM_I64_MAX];
    size_t len = num_fmt_u64(n, db);
    encode_header(b, argc + 3);
    encode_arg(b, SPAN_LIT("HALCYON"));
    encode_arg(b, SPAN_LIT("DB"));
    encode_arg(b, span_of(n, len));
    for (uint32_t i = 0; i < argc; i++) {
        encode_arg(b, argv[i]);
    }
}
