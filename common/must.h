#ifndef COMMON_MUST_H
#define COMMON_MUST_H

/* Assertions in three grades (STYLE 4.3).
 *   must(x)         a bug if false; stays on in release; prints where and aborts
 *   must_slow(x)    the same, only in debug builds (NDEBUG not defined and HALCYON_SLOW_CHECKS set)
 *   unreachable()   end of a switch over an enum without default
 * Nothing that comes from the network, a file or an operator may reach one of these. */

_Noreturn void must_fail(const char *file, int line, const char *expression);

#define must(x) (__builtin_expect(!!(x), 1) ? (void)0 : must_fail(__FILE__, __LINE__, #x))
#ifdef HALCYON_SLOW_CHECKS
#define must_slow(x) must(x)
#else
#define must_slow(x) ((void)sizeof(x))
#endif
#define unreachable() must_fail(__FILE__, __LINE__, "unreachable")

/* Heap objects that travel through void * begin with `uint32_t magic`. */
#define obj_check(p, m) must((p) != NULL && (p)->magic == (m))

#endif
