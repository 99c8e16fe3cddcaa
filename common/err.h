#ifndef COMMON_ERR_H
#define COMMON_ERR_H

/* One error enumeration for the whole project, and the message that goes with it where a human
 * reads it.
 *
 * A function that can fail returns enum err, marked must_use; results go to out-parameters, last,
 * and are untouched on failure. struct errmsg is an extra parameter only on paths a human reads:
 * configuration, start-up, membership, administration. */

#define must_use __attribute__((warn_unused_result))
#define printf_like(fmt, args) __attribute__((format(printf, fmt, args)))

/* name, text */
#define ERR_TABLE(X)                                                                               \
    X(OK, "success")                                                                               \
    X(ERR_NOMEM, "out of memory")                                                                  \
    X(ERR_RANGE, "value out of range")                                                             \
    X(ERR_SYNTAX, "syntax error")                                                                  \
    X(ERR_PROTO, "protocol error")                                                                 \
    X(ERR_BUSY, "no free slot, try again later")                                                   \
    X(ERR_AGAIN, "not ready yet")                                                                  \
    X(ERR_NOTFOUND, "not found")                                                                   \
    X(ERR_EXISTS, "already exists")                                                                \
    X(ERR_TOOBIG, "too big")                                                                       \
    X(ERR_TYPE, "wrong type")                                                                      \
    X(ERR_CORRUPT, "checksum or format mismatch")                                                  \
    X(ERR_IO, "input/output error")                                                                \
    X(ERR_CLOSED, "connection closed")                                                             \
    X(ERR_TIMEOUT, "timed out")                                                                    \
    X(ERR_DENIED, "permission denied")                                                             \
    X(ERR_UNSUPPORTED, "not supported")                                                            \
    X(ERR_STALE, "stale epoch, generation or timestamp")                                           \
    X(ERR_NOLEASE, "no valid lease")                                                               \
    X(ERR_UNKNOWN, "outcome unknown")                                                              \
    X(ERR_CONFIG, "invalid configuration")

enum err {
#define X(name, text) name,
    ERR_TABLE(X)
#undef X
};

struct errmsg {
    char text[256];
};

/* The constant's name ("ERR_PROTO") and its sentence. Static strings, never NULL. */
const char *err_name(enum err e);
const char *err_text(enum err e);

/* Writes the message (truncated to fit, always terminated) and returns e, for `return
 * errmsg_set(...)`. m may be NULL. */
enum err errmsg_set(struct errmsg *m, enum err e, const char *fmt, ...) printf_like(3, 4);

/* Puts context before the message already there: "context: message". m may be NULL. */
void errmsg_wrap(struct errmsg *m, const char *fmt, ...) printf_like(2, 3);

#endif
