#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>

#include "common/err.h"

/* Log lines as Redis writes them: "pid:role 22 Nov 2026 10:00:00.123 * text". Any thread. */
enum log_level { LOG_DEBUG, LOG_VERBOSE, LOG_NOTICE, LOG_WARNING };

/* path "" means standard output. Reopens on SIGHUP through log_reopen. */
enum err log_open(const char *path, enum log_level level, char role, struct errmsg *why);
void log_reopen(void);
void log_set_level(enum log_level level);
void log_msg(enum log_level level, const char *fmt, ...) printf_like(2, 3);

#define log_debug(...) log_msg(LOG_DEBUG, __VA_ARGS__)
#define log_verbose(...) log_msg(LOG_VERBOSE, __VA_ARGS__)
#define log_notice(...) log_msg(LOG_NOTICE, __VA_ARGS__)
#define log_warning(...) log_msg(LOG_WARNING, __VA_ARGS__)

/* True at most once a second per call site: for causes that a peer or client can trigger. */
struct log_limit {
    unsigned long long last_s, suppressed;
};
bool log_limited(struct log_limit *limit);

#endif
