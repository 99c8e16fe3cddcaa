#ifndef COMMON_MEM_H
#define COMMON_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

/* The process' allocator (jemalloc; the sanitizers' own in sanitizer builds).
 *
 * mem_alloc, mem_zalloc and mem_realloc never return NULL: like Redis, Halcyon ends with a message
 * when the machine has no memory at all; the budget a user sets (maxmemory, buffer limits) is
 * enforced long before. mem_try_alloc returns NULL instead, for sizes a peer or client chose. Sizes
 * of 0 are allowed. */
void *mem_alloc(size_t bytes) __attribute__((malloc, returns_nonnull));
void *mem_zalloc(size_t bytes) __attribute__((malloc, returns_nonnull));
void *mem_realloc(void *p, size_t bytes) __attribute__((returns_nonnull));
void *mem_try_alloc(size_t bytes);
void mem_free(void *p); /* NULL is allowed */
char *mem_strdup(const char *s);

/* Bytes really taken by an allocation (size class), >= the size asked for. */
size_t mem_usable(const void *p);
/* Bytes an allocation of this size would take. */
size_t mem_good_size(size_t bytes);

/* Bytes now allocated by the calling thread less those it freed: with shared-nothing workers this
 * is the worker's memory. Exact under jemalloc; counted by wrappers in sanitizer builds. */
int64_t mem_thread_used(void);

/* Whole process: allocated, resident, peak resident, in bytes. */
struct mem_stats {
    uint64_t allocated, active, resident, rss, rss_peak;
};
void mem_stats(struct mem_stats *out);

/* Gives free pages back to the system (MEMORY PURGE). */
void mem_purge(void);
const char *mem_allocator_name(void); /* "jemalloc-5.3.0", "libc" */
struct buf;
void mem_report(struct buf *out); /* the allocator's own report (MEMORY MALLOC-STATS) */

/* Fault injection for tests: the n-th mem_try_alloc from now fails (0: never). */
void mem_fail_after(unsigned n);

#endif
