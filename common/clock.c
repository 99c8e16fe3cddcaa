/* The only file that reads clocks. */
#include "common/clock.h"

#include <stdatomic.h>
#include <time.h>

static _Atomic int64_t wall_shift_us;

static uint64_t read_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t clk_boot_ns(void)
{
    return read_ns(CLOCK_BOOTTIME);
}

uint64_t clk_mono_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

uint64_t clk_wall_us(void)
{
    /* relaxed: a test moves the clock, nothing else is ordered by it */
    int64_t shift = atomic_load_explicit(&wall_shift_us, memory_order_relaxed);
    return read_ns(CLOCK_REALTIME) / 1000u + (uint64_t)shift;
}

uint64_t clk_wall_ms(void)
{
    return clk_wall_us() / 1000u;
}

void clk_wall_shift_ms(int64_t ms)
{
    atomic_fetch_add_explicit(&wall_shift_us, ms * 1000, memory_order_relaxed);
}
