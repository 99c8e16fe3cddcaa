#ifndef COMMON_NUM_H
#define COMMON_NUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/span.h"

/* Numbers to and from text with exactly Redis 7.0's idea of what is valid.
 * Parsers return false and leave *out alone on anything else (spaces, plus sign, leading zeros,
 * overflow). */
bool num_parse_i64(struct span s, int64_t *out);  /* string2ll */
bool num_parse_u64(struct span s, uint64_t *out); /* decimal, for cursors: strtoull rules of SCAN */
/* getDoubleFromObject: no spaces, no NaN; inf allowed */
bool num_parse_double(struct span s, double *out);
bool num_parse_ldouble(struct span s, long double *out); /* getLongDoubleFromObject */

#define NUM_I64_MAX 21                     /* room for a formatted int64, with the terminator */
#define NUM_DOUBLE_MAX 40                  /* room for num_fmt_double */
#define NUM_LDOUBLE_MAX ((size_t)5 * 1024) /* room for num_fmt_ldouble, human form */

/* Each returns the length; the text is terminated too. */
size_t num_fmt_i64(char *out, int64_t v);
size_t num_fmt_u64(char *out, uint64_t v);
/* shortest of %.17g, as RESP2 replies and ZSCORE show it (d2string/addReplyDouble) */
size_t num_fmt_double(char *out, double v);
/* ld2string human: %.17Lf with trailing zeros removed (INCRBYFLOAT) */
size_t num_fmt_ldouble(char *out, long double v);

/* Memory sizes as in redis.conf: 1k 1kb 1m 1mb 1g 1gb, case-insensitive. */
bool num_parse_memory(struct span s, uint64_t *out);

#endif
