/* The log: one write per line to a descriptor that stays the same when the file is reopened, so no
 * lock is needed. */
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"

#define LOG_LINE_MAX 1024

static _Atomic int log_fd = STDOUT_FILENO;
static _Atomic int log_level_min = LOG_NOTICE;
static char log_path[4096];
static char log_role = 'M';

/* Opens the file and puts it where the log's descriptor is. */
static enum err open_at_fd(struct errmsg *why)
{
    int fd = open(log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        char text[128];
        return errmsg_set(why, ERR_IO, "cannot open log file %s: %s", log_path,
                          strerror_r(errno, text, sizeof text));
    }
    int old = atomic_load(&log_fd);
    if (old == STDOUT_FILENO) {
        atomic_store(&log_fd, fd);
    } else {
        dup3(fd, old, O_CLOEXEC); /* one step for writers in other threads */
        close(fd);
    }
    return OK;
}

enum err log_open(const char *path, enum log_level level, char role, struct errmsg *why)
{
    log_set_level(level);
    log_role = role;
    if (strlen(path) >= sizeof log_path) {
        return errmsg_set(why, ERR_RANGE, "the path of the log file is too long");
    }
    if (path[0] == '\0') {
        int old = atomic_exchange(&log_fd, STDOUT_FILENO);
        if (old != STDOUT_FILENO) {
            close(old);
        }
        log_path[0] = '\0';
        return OK;
    }
    memcpy(log_path, path, strlen(path) + 1);
    return open_at_fd(why);
}

void log_reopen(void)
{
    struct errmsg why;
    if (log_path[0] != '\0' && open_at_fd(&why) != OK) {
        log_warning("%s", why.text); /* to the file that is still open */
    }
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&log_level_min, (int)level,
                          memory_order_relaxed); /* orders nothing else */
}

void log_msg(enum log_level level, const char *fmt, ...)
{
    if ((int)level < atomic_load_explicit(&log_level_min, memory_order_relaxed)) {
        return;
    }
    uint64_t now_ms = clk_wall_ms();
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm tm;
    localtime_r(&seconds, &tm);
    char when[40];
    strftime(when, sizeof when, "%d %b %Y %H:%M:%S", &tm);

    char line[LOG_LINE_MAX];
    int head = snprintf(line, sizeof line, "%d:%c %s.%03u %c ", (int)getpid(), log_role, when,
                        (unsigned)(now_ms % 1000), ".-*#"[level]);
    size_t n = (size_t)head;
    va_list ap;
    va_start(ap, fmt);
    int body = vsnprintf(line + n, sizeof line - n - 1, fmt, ap);
    va_end(ap);
    size_t room = sizeof line - n - 2;
    n += body < 0 ? 0 : (size_t)body < room ? (size_t)body : room;
    line[n++] = '\n';
    ssize_t ignored = write(atomic_load(&log_fd), line, n); /* nowhere to report a full disk to */
    (void)ignored;
}

bool log_limited(struct log_limit *limit)
{
    /* Sites are shared by threads: a race costs at most a line too many, so relaxed atomics are
     * enough. */
    unsigned long long now_s = clk_mono_ns() / 1000000000u + 1;
    unsigned long long last = __atomic_load_n(&limit->last_s, __ATOMIC_RELAXED);
    if (last == now_s || !__atomic_compare_exchange_n(&limit->last_s, &last, now_s, false,
                                                      __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        __atomic_fetch_add(&limit->suppressed, 1, __ATOMIC_RELAXED);
        return false;
    }
    return true;
}
