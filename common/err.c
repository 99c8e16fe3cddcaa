/* Names and texts of the error codes, and messages built up on the way to the human. */
#include "common/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {
#define X(name, text) #name,
    ERR_TABLE(X)
#undef X
};
static const char *const texts[] = {
#define X(name, text) text,
    ERR_TABLE(X)
#undef X
};

const char *err_name(enum err e)
{
    return (unsigned)e < sizeof names / sizeof names[0] ? names[e] : "ERR_?";
}

const char *err_text(enum err e)
{
    return (unsigned)e < sizeof texts / sizeof texts[0] ? texts[e] : "unknown error";
}

enum err errmsg_set(struct errmsg *m, enum err e, const char *fmt, ...)
{
    if (m != NULL) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(m->text, sizeof m->text, fmt, ap);
        va_end(ap);
    }
    return e;
}

void errmsg_wrap(struct errmsg *m, const char *fmt, ...)
{
    if (m == NULL) {
        return;
    }
    char old[sizeof m->text];
    memcpy(old, m->text, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(m->text, sizeof m->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof m->text) {
        size_t left = sizeof m->text - (size_t)n;
        snprintf(m->text + n, left, ": %.*s", (int)left, old);
    }
}
