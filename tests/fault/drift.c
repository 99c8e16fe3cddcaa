/* drift: a library to be preloaded into a process whose clocks are to run fast or slow. DRIFT_PPM:
 * so many millionths faster (negative: slower) than the machine's. Only clocks that count time are
 * bent, not the wall clock; and only what asks the C library: the kernel's own timeouts keep the
 * true time, so a process with a slow clock wakes up when it should and believes that it is early.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#define NS INT64_C(1000000000)

typedef int (*clock_fn)(clockid_t, struct timespec *);

static clock_fn real;
static int64_t ppm, base[16]; /* ns, by clock */

static int64_t ns_of(const struct timespec *t)
{
    return t->tv_sec * NS + t->tv_nsec;
}

/* At the first call, which may come before constructors run; other threads come later. */
static void begin(void)
{
    void *found = dlsym(RTLD_NEXT, "clock_gettime");
    *(void **)&real = found; /* as dlsym's manual says */
    const char *text = getenv("DRIFT_PPM");
    ppm = text != NULL ? strtoll(text, NULL, 10) : 0;
    static const clockid_t bent[] = {CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC_COARSE,
                                     CLOCK_BOOTTIME};
    for (size_t i = 0; i < sizeof bent / sizeof *bent; i++) {
        struct timespec t;
        base[bent[i]] = real(bent[i], &t) == 0 ? ns_of(&t) : 0;
    }
}

__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *t)
{
    if (real == NULL) {
        begin();
    }
    int r = real(clock, t);
    if (r == 0 && clock >= 0 && clock < 16 && base[clock] != 0) {
        int64_t passed = ns_of(t) - base[clock];
        int64_t now = base[clock] + passed + passed / 1000 * ppm / 1000;
        t->tv_sec = now / NS;
        t->tv_nsec = now % NS;
    }
    return r;
}
