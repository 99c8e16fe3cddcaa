/* Glob matching with the meaning Redis gives each character.
 *
 * Only the last star seen is ever returned to: if the part after it cannot match from here, giving
 * an earlier star more text cannot help either. So time is at most length of pattern times length
 * of text, and there is no recursion. */
#include "common/glob.h"

#include <ctype.h>
#include <stdint.h>

static inline char fold(char c, bool ignore_case)
{
    if (ignore_case) {
        c = (char)tolower((unsigned char)c);
    }
    return c;
}

/* One class, *at behind its '['. Moves *at behind it (the end of the pattern when no ']' follows).
 */
static bool class_matches(struct span pat, size_t *at, char c, bool ignore_case)
{
    size_t i = *at;
    bool negated = i < pat.len && pat.p[i] == '^';
    if (negated) {
        i++;
    }
    bool hit = false;
    while (i < pat.len && pat.p[i] != ']') {
        if (pat.p[i] == '\\' && i + 1 < pat.len) {
            i++;
            hit |= pat.p[i] == c; /* with case, as Redis does */
            i++;
        } else if (i + 2 < pat.len && pat.p[i + 1] == '-') {
            char low = pat.p[i];
            char high = pat.p[i + 2];
            if (low > high) {
                char t = low;
                low = high;
                high = t;
            }
            char x = fold(c, ignore_case);
            hit |= x >= fold(low, ignore_case) && x <= fold(high, ignore_case);
            i += 3;
        } else {
            hit |= fold(pat.p[i], ignore_case) == fold(c, ignore_case);
            i++;
        }
    }
    *at = i < pat.len ? i + 1 : i;
    return hit != negated;
}

/* Does the element of the pattern at *at (not a star) match c? Moves *at behind it if so. */
static bool element_matches(struct span pat, size_t *at, char c, bool ignore_case)
{
    size_t i = *at;
    char p = pat.p[i++];
    bool hit = false;
    if (p == '?') {
        hit = true;
    } else if (p == '[') {
        hit = class_matches(pat, &i, c, ignore_case);
    } else {
        if (p == '\\' && i < pat.len) {
            p = pat.p[i++];
        }
        hit = fold(p, ignore_case) == fold(c, ignore_case);
    }
    if (hit) {
        *at = i;
    }
    return hit;
}

bool glob_match(struct span pattern, struct span text, bool ignore_case)
{
    if (text.len == 0) {
        return pattern.len == 0; /* in Redis not even a star matches nothing at all */
    }
    size_t p = 0;
    size_t t = 0;
    size_t star = SIZE_MAX; /* pattern position behind the last star */
    size_t star_text = 0;   /* text position tried for it */
    while (t < text.len) {
        if (p < pattern.len && pattern.p[p] == '*') {
            while (p < pattern.len && pattern.p[p] == '*') {
                p++;
            }
            if (p == pattern.len) {
                return true;
            }
            star = p;
            star_text = t;
        } else if (p < pattern.len && element_matches(pattern, &p, text.p[t], ignore_case)) {
            t++;
        } else if (star != SIZE_MAX) {
            p = star;
            t = ++star_text;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.p[p] == '*') {
        p++;
    }
    return p == pattern.len;
}
