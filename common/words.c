/* Words of a line, with quotes. */
#include "common/words.h"

#include <ctype.h>

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    char low = (char)(c | 0x20);
    return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

static char escaped(char c)
{
    switch (c) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return c;
    }
}

/* A quoted part, *at behind the opening quote. False: it is not closed, or something follows the
 * closing quote. */
static bool quoted(struct span s, size_t *at, char quote, char *out, size_t *len)
{
    size_t i = *at;
    for (;;) {
        if (i >= s.len || s.p[i] == '\0') {
            return false;
        }
        char c = s.p[i];
        size_t left = s.len - i;
        if (c == quote) {
            i++;
            break;
        }
        if (quote == '"' && c == '\\' && left >= 4 && s.p[i + 1] == 'x' &&
            hex_value(s.p[i + 2]) >= 0 && hex_value(s.p[i + 3]) >= 0) {
            out[(*len)++] = (char)(hex_value(s.p[i + 2]) * 16 + hex_value(s.p[i + 3]));
            i += 4;
        } else if (quote == '"' && c == '\\' && left >= 2 && s.p[i + 1] != '\0') {
            out[(*len)++] = escaped(s.p[i + 1]);
            i += 2;
        } else if (quote == '\'' && c == '\\' && left >= 2 && s.p[i + 1] == '\'') {
            out[(*len)++] = '\'';
            i += 2;
        } else {
            out[(*len)++] = c;
            i++;
        }
    }
    *at = i;
    return i >= s.len || s.p[i] == '\0' || isspace((unsigned char)s.p[i]);
}

int word_next(struct span *rest, char *out, size_t *len)
{
    struct span s = *rest;
    size_t i = 0;
    while (i < s.len && isspace((unsigned char)s.p[i])) {
        i++;
    }
    if (i >= s.len || s.p[i] == '\0') {
        *rest = span_of(NULL, 0);
        return 0;
    }
    *len = 0;
    while (i < s.len && s.p[i] != '\0' && !isspace((unsigned char)s.p[i])) {
        char c = s.p[i++];
        if (c == '"' || c == '\'') {
            if (!quoted(s, &i, c, out, len)) {
                return -1;
            }
            break;
        }
        out[(*len)++] = c;
    }
    *rest = span_of(s.p + i, s.len - i);
    return 1;
}
