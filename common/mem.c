/* The process' allocator behind a handful of functions, with per-thread accounting. */
#include "common/mem.h"

#include "common/buf.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#ifdef HALCYON_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

static _Thread_local unsigned fail_countdown;

static _Noreturn void out_of_memory(size_t bytes)
{
    fprintf(stderr, "halcyon: out of memory allocating %zu bytes\n", bytes);
    abort();
}

#ifdef HALCYON_JEMALLOC
/* jemalloc keeps exact per-thread byte counters; reading them is a load. */
static _Thread_local uint64_t *allocated_p;
static _Thread_local uint64_t *freed_p;

int64_t mem_thread_used(void)
{
    if (allocated_p == NULL) {
        size_t n = sizeof(uint64_t *);
        if (mallctl("thread.allocatedp", &allocated_p, &n, NULL, 0) != 0 ||
            mallctl("thread.deallocatedp", &freed_p, &n, NULL, 0) != 0) {
            return 0;
        }
    }
    return (int64_t)(*allocated_p - *freed_p);
}

#define COUNT_ALLOC(p) ((void)0)
#define COUNT_FREE(p) ((void)0)

size_t mem_good_size(size_t bytes)
{
    return nallocx(bytes == 0 ? 1 : bytes, 0);
}

static uint64_t stat_u64(const char *name)
{
    size_t v = 0;
    size_t n = sizeof v;
    return mallctl(name, &v, &n, NULL, 0) == 0 ? v : 0;
}
#else
static _Thread_local int64_t thread_used;

int64_t mem_thread_used(void)
{
    return thread_used;
}

#define COUNT_ALLOC(p) (thread_used += (int64_t)malloc_usable_size(p))
#define COUNT_FREE(p) (thread_used -= (int64_t)malloc_usable_size(p))

size_t mem_good_size(size_t bytes)
{
    return (bytes + 15u) & ~(size_t)15u;
}
#endif

void *mem_try_alloc(size_t bytes)
{
    if (fail_countdown != 0 && --fail_countdown == 0) {
        return NULL;
    }
    void *p = malloc(bytes == 0 ? 1 : bytes);
    if (p != NULL) {
        COUNT_ALLOC(p);
    }
    return p;
}

void *mem_alloc(size_t bytes)
{
    void *p = malloc(bytes == 0 ? 1 : bytes);
    if (p == NULL) {
        out_of_memory(bytes);
    }
    COUNT_ALLOC(p);
    return p;
}

void *mem_zalloc(size_t bytes)
{
    void *p = calloc(1, bytes == 0 ? 1 : bytes);
    if (p == NULL) {
        out_of_memory(bytes);
    }
    COUNT_ALLOC(p);
    return p;
}

void *mem_realloc(void *old, size_t bytes)
{
    if (old != NULL) {
        COUNT_FREE(old);
    }
    void *p = realloc(old, bytes == 0 ? 1 : bytes);
    if (p == NULL) {
        out_of_memory(bytes);
    }
    COUNT_ALLOC(p);
    return p;
}

void mem_free(void *p)
{
    if (p != NULL) {
        COUNT_FREE(p);
        free(p);
    }
}

char *mem_strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    char *p = mem_alloc(n);
    memcpy(p, s, n);
    return p;
}

size_t mem_usable(const void *p)
{
    return p == NULL ? 0 : malloc_usable_size((void *)(uintptr_t)p);
}

void mem_fail_after(unsigned n)
{
    fail_countdown = n;
}

static uint64_t resident_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL) {
        return 0;
    }
    unsigned long long total = 0;
    unsigned long long pages = 0;
    int got =
        fscanf(f, "%llu %llu", &total, &pages); // NOLINT(cert-err34-c): the kernel's own format
    fclose(f);
    return got == 2 ? pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

void mem_stats(struct mem_stats *out)
{
    struct rusage usage = {0};
    getrusage(RUSAGE_SELF, &usage);
    *out =
        (struct mem_stats){.rss = resident_bytes(), .rss_peak = (uint64_t)usage.ru_maxrss * 1024u};
#ifdef HALCYON_JEMALLOC
    uint64_t epoch = 1;
    size_t n = sizeof epoch;
    mallctl("epoch", &epoch, &n, &epoch, n);
    out->allocated = stat_u64("stats.allocated");
    out->active = stat_u64("stats.active");
    out->resident = stat_u64("stats.resident");
#else
    struct mallinfo2 info = mallinfo2();
    out->allocated = info.uordblks;
    out->active = info.arena + info.hblkhd;
    out->resident = out->rss;
#endif
}

#ifdef HALCYON_JEMALLOC
void mem_purge(void)
{
    char name[32];
    snprintf(name, sizeof name, "arena.%u.purge", MALLCTL_ARENAS_ALL);
    mallctl(name, NULL, NULL, NULL, 0);
}

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

const char *mem_allocator_name(void)
{
    return "jemalloc-" TEXT(JEMALLOC_VERSION_MAJOR) "." TEXT(JEMALLOC_VERSION_MINOR) "." TEXT(
        JEMALLOC_VERSION_BUGFIX);
}

static void add_report(void *out, const char *text)
{
    buf_add_str(out, text);
}

void mem_report(struct buf *out)
{
    malloc_stats_print(add_report, out, "gblxe");
}
#else
void mem_purge(void)
{
    malloc_trim(0);
}

const char *mem_allocator_name(void)
{
    return "libc";
}

void mem_report(struct buf *out)
{
    struct mem_stats m;
    mem_stats(&m);
    buf_addf(out, "allocated %llu\nactive %llu\n", (unsigned long long)m.allocated,
             (unsigned long long)m.active);
}
#endif
