/* Composing one reply from the replies of several nodes: pure functions on bytes. */
#include "common/mem.h"
#include "common/num.h"
#include "common/resp.h"
#include "proxy/gather.h"

/* The header of an array ("*n\r\n"): its count, and where its elements start. */
static bool array_header(struct span reply, uint64_t *n, size_t *start)
{
    if (reply.len < 4 || (reply.p[0] != '*' && reply.p[0] != '~')) {
        return false;
    }
    const char *end = memchr(reply.p, '\r', reply.len);
    if (end == NULL || !num_parse_u64(span_of(reply.p + 1, (size_t)(end - reply.p) - 1), n)) {
        return false;
    }
    *start = (size_t)(end - reply.p) + 2;
    return *start <= reply.len;
}

static void array_of(struct buf *out, uint64_t n)
{
    char text[NUM_I64_MAX];
    size_t len = num_fmt_u64(text, n);
    buf_add(out, "*", 1);
    buf_add(out, text, len);
    buf_add(out, "\r\n", 2);
}

bool compose_elements(struct buf *out, const struct span *parts, uint32_t n_parts,
                      const uint16_t *who, uint32_t keys)
{
    size_t before = buf_used(out);
    struct span *rest = mem_alloc(n_parts * sizeof *rest);
    bool ok = true;
    size_t total = 32;
    uint64_t promised = 0;
    for (uint32_t i = 0; ok && i < n_parts; i++) {
        uint64_t n = 0;
        size_t start = 0;
        ok = array_header(parts[i], &n, &start);
        promised += n;
        if (ok) {
            rest[i] = span_of(parts[i].p + start, parts[i].len - start);
            total += rest[i].len;
        }
    }
    ok = ok && promised == keys;
    if (ok) {
        buf_reserve(out, total);
        array_of(out, keys);
    }
    for (uint32_t i = 0; ok && i < keys; i++) {
        struct span *r = &rest[who[i]];
        int64_t n = resp_reply_size(r->p, r->len);
        ok = n > 0;
        if (ok) {
            buf_add(out, r->p, (size_t)n);
            *r = span_of(r->p + n, r->len - (size_t)n);
        }
    }
    mem_free(rest);
    if (!ok) {
        out->len = out->head + before;
    }
    return ok;
}

bool compose_concat(struct buf *out, const struct span *parts, uint32_t n_parts)
{
    uint64_t total = 0;
    size_t start = 0;
    for (uint32_t i = 0; i < n_parts; i++) {
        uint64_t n = 0;
        if (!array_header(parts[i], &n, &start)) {
            return false;
        }
        total += n;
    }
    array_of(out, total);
    for (uint32_t i = 0; i < n_parts; i++) {
        uint64_t n = 0;
        array_header(parts[i], &n, &start);
        buf_add(out, parts[i].p + start, parts[i].len - start);
    }
    return true;
}

/* *2 of a cursor (bulk) and an array. */
bool compose_scan(struct buf *out, struct span part, const struct scan_at *at)
{
    uint64_t n = 0;
    size_t start = 0;
    if (!array_header(part, &n, &start) || n != 2) {
        return false;
    }
    int64_t size = resp_reply_size(part.p + start, part.len - start);
    const char *p = part.p + start;
    const char *nl = size > 0 ? memchr(p, '\n', (size_t)size) : NULL;
    if (size <= 0 || p[0] != '$' || nl == NULL || nl + 3 > p + size) {
        return false;
    }
    uint64_t node = 0;
    struct span digits = span_of(nl + 1, (size_t)(p + size - nl) - 3);
    if (!num_parse_u64(digits, &node) || node > CURSOR_NODE_MAX) {
        return false;
    }
    uint64_t cursor = 0;
    if (at->partition >= at->partitions) {
        cursor = 0; /* of another configuration: over */
    } else if (node != 0) {
        cursor = cursor_join(at->partition, node, at->replica);
    } else if (at->partition + 1 < at->partitions) {
        cursor = cursor_join(at->partition + 1, 0, 0);
    }
    char text[NUM_I64_MAX];
    size_t len = num_fmt_u64(text, cursor);
    buf_addf(out, "*2\r\n$%zu\r\n%.*s\r\n", len, (int)len, text);
    buf_add(out, p + size, part.len - start - (size_t)size);
    return true;
}
