#ifndef COMMON_RESP_H
#define COMMON_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/span.h"

/* RESP: requests in, replies out. Knows bytes only: no sockets, no commands. */

/* ---- requests ---------------------------------------------------------------------------- */

/* Redis' PROTO_INLINE_MAX_SIZE: also of the lines that hold counts and lengths */
#define RESP_INLINE_MAX ((size_t)64 * 1024)
/* Redis 7.0 accepts any positive int; what arrives is bounded by the query buffer limit */
#define RESP_ARGS_MAX 2147483647
#define RESP_ARGS_UNAUTH_MAX 10 /* before AUTH */
#define RESP_BULK_UNAUTH_MAX 16384

struct resp_limits {
    uint64_t bulk_bytes_max; /* proto-max-bulk-len */
    uint32_t args_max;
    bool unauthenticated; /* the two limits above hold as well */
};

/* Incremental parser of one connection's request stream. All positions are relative to the first
 * byte of the request under way, so the caller may move or grow the bytes between calls, but must
 * not drop any of them. */
struct resp_parser {
    /* owned; valid after RESP_REQUEST until the next call; points into the caller's bytes */
    struct span *argv;
    uint32_t argv_cap;
    uint32_t argc;
    /* state of a request that has not arrived whole; until then argv[i].p holds an offset, not a
     * pointer */
    size_t pos;       /* bytes already understood */
    size_t scanned;   /* bytes already searched for the end of a line */
    int64_t bulk_len; /* length of the argument under way, -1: header not read */
    uint32_t args_left;
    uint32_t args_declared;
    uint8_t mode;      /* 0 none, 1 multibulk, 2 inline */
    char *inline_args; /* unquoted inline arguments; owned */
    size_t inline_cap;
};

enum resp_result {
    /* one request: argc/argv are set (argc 0: empty line or *0, skip it); takes *consumed bytes */
    RESP_REQUEST,
    /* incomplete: read more, call again with the same first byte; resp_wanted() says how much */
    RESP_MORE,
    /* error->text holds Redis' words ("Protocol error: ..."): send -ERR text, close */
    RESP_BAD
};

void resp_parser_init(struct resp_parser *p);
void resp_parser_free(struct resp_parser *p);
/* Forgets the request under way (its bytes will be offered again from the first) and gives back
 * memory of large ones. */
void resp_parser_reset(struct resp_parser *p);

/* No request is under way: the next byte begins one. */
static inline bool resp_parser_idle(const struct resp_parser *p)
{
    return p->mode == 0;
}

/* Parses at most one request from bytes[0..len). Arguments are spans into bytes (zero copy), except
 * for inline requests, whose unquoted text the parser holds. Cost: linear in the new bytes only. */
enum resp_result resp_parse(struct resp_parser *p, const char *bytes, size_t len,
                            const struct resp_limits *limits, size_t *consumed,
                            struct errmsg *error);

/* The short way, without state: a request that is wholly there, well formed, within limits, and has
 * at most argv_max arguments. Returns the bytes it takes and sets *argc (0 is never set), or 0 for
 * anything else: then resp_parse must look at it. Inline requests qualify when they have no quotes.
 * For batches: many requests into one array of spans. */
size_t resp_parse_whole(const char *bytes, size_t len, const struct resp_limits *limits,
                        struct span *argv, uint32_t argv_max, uint32_t *argc);

/* After RESP_MORE: how many bytes the request has at least, from its first (0: not known). For
 * sizing the buffer. */
size_t resp_wanted(const struct resp_parser *p);

/* ---- replies ----------------------------------------------------------------------------- */

/* Appends replies to a buffer in the client's protocol version (2 or 3). Every function appends one
 * whole value or one header; for an aggregate the caller then appends exactly the promised number
 * of values. */
struct resp_out {
    struct buf *b;
    uint8_t proto; /* 2 or 3 */
};

void resp_simple(struct resp_out *o, const char *text); /* +text */
void resp_ok(struct resp_out *o);                       /* +OK */
/* -text: text starts with its code, "ERR ..." */
void resp_error(struct resp_out *o, const char *text);
/* CR, LF become spaces */
void resp_errorf(struct resp_out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void resp_int(struct resp_out *o, int64_t v);
void resp_bulk(struct resp_out *o, const char *bytes, size_t len);
void resp_bulk_span(struct resp_out *o, struct span s);
void resp_bulk_str(struct resp_out *o, const char *s);
void resp_bulk_i64(struct resp_out *o, int64_t v); /* the number as a bulk string */
void resp_null(struct resp_out *o);                /* $-1 | _ */
void resp_null_array(struct resp_out *o);          /* *-1 | _ */
void resp_array(struct resp_out *o, size_t n);
void resp_map(struct resp_out *o, size_t pairs); /* RESP2: array of 2 * pairs */
void resp_set(struct resp_out *o, size_t n);     /* RESP2: array */
void resp_push(struct resp_out *o, size_t n);    /* RESP2: array */
/* RESP3 only: must not be called for RESP2 */
void resp_attribute(struct resp_out *o, size_t pairs);
void resp_double(struct resp_out *o, double v); /* RESP2: bulk */
void resp_bool(struct resp_out *o, bool v);     /* RESP2: :1 or :0 */
/* RESP2: bulk */
void resp_verbatim(struct resp_out *o, const char *ext3, const char *bytes, size_t len);
void resp_big_number(struct resp_out *o, struct span digits); /* RESP2: bulk */
/* always a bulk string, human form */
void resp_ldouble(struct resp_out *o, long double v);

/* For aggregates whose size is not known yet: remember where, append the values, then put the
 * header in front. */
size_t resp_defer(struct resp_out *o);
enum resp_aggregate { RESP_ARRAY, RESP_MAP, RESP_SET };
/* n as resp_array/map/set take it */
void resp_defer_end(struct resp_out *o, size_t mark, enum resp_aggregate kind, size_t n);

/* Bytes of one whole reply at the start of bytes[0..len): 0 if incomplete, -1 if malformed.
 * Understands RESP2 and RESP3, nesting at most 8 (deeper: -1). For tests and for whoever has to
 * pass replies on. */
int64_t resp_reply_size(const char *bytes, size_t len);

#endif
