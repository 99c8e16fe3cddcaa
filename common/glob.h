#ifndef COMMON_GLOB_H
#define COMMON_GLOB_H

#include <stdbool.h>

#include "common/span.h"

/* Redis' glob-style matching (KEYS, SCAN MATCH, ACL patterns): * ? [a-z] [^x] and backslash.
 * Binary-safe, linear memory, bounded recursion: a pattern of many stars cannot take exponential
 * time. */
bool glob_match(struct span pattern, struct span text, bool ignore_case);

#endif
