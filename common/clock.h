#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdint.h>

/* The only file that reads clocks. Every call reads afresh: nothing is cached per loop turn (DESIGN
 * H9, RELIABILITY L2). */
uint64_t clk_boot_ns(void); /* CLOCK_BOOTTIME: leases and deadlines */
uint64_t clk_mono_ns(void); /* CLOCK_MONOTONIC: durations, latency */
uint64_t clk_wall_ms(void); /* CLOCK_REALTIME: expiry, TIME, logs */
uint64_t clk_wall_us(void);

/* Tests only: shifts clk_wall_ms/us of this process by this much (DEBUG command behind a debug
 * switch). */
void clk_wall_shift_ms(int64_t ms);

#endif
