#ifndef TESTS_LIB_HISTORY_H
#define TESTS_LIB_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Histories of operations and the three checks of RELIABILITY 3: by timestamps the system gave
 * (witness), by zones without its help, and by search for commands whose result depends on what was
 * there. All are per key (linearizability composes); the caller sorts operations out by key with
 * history_by_key or hands over those of one key.
 *
 * Used by the simulator and, read from JSON lines, by the tests with real processes. */
enum hist_kind {
    HIST_GET,    /* ret: value, or HIST_ABSENT */
    HIST_SET,    /* arg: value */
    HIST_INCR,   /* ret: new value; absent counts as 0 */
    HIST_APPEND, /* arg: what; ret: new length (arguments appended since the key was absent) */
    HIST_DEL,    /* ret: 1 if there was something, else 0 */
    HIST_CAS,   /* arg: expected, arg2: new; ret: 1 if it was done, else 0 (absent never matches) */
    HIST_SETNX, /* arg: value; ret: 1 if there was nothing, else 0 and nothing changes */
    HIST_GETSET, /* arg: value; ret: what was there, or HIST_ABSENT */
};

enum hist_status {
    HIST_OK,
    HIST_FAIL,
    HIST_UNKNOWN
}; /* FAIL: proved not executed; UNKNOWN: may take effect at any time, or never */

#define HIST_ABSENT INT64_MIN
#define HIST_NEVER UINT64_MAX
#define HIST_NO_TS UINT64_MAX

struct hist_op {
    uint32_t client; /* operations of one client that overlap were pipelined: they take effect in
                        the order of `sequence` (H14) */
    uint64_t sequence;
    uint64_t key;
    enum hist_kind kind;
    enum hist_status status;
    int64_t arg, arg2, ret;
    uint64_t call,
        ret_at;  /* ns on one clock; closed interval. ret_at of an unknown operation is ignored */
    uint64_t ts; /* witness: timestamp of the value written or returned; 0: of a key that never was;
                    HIST_NO_TS: none was told */
    uint64_t base; /* witness, RMW: the one it was made from, if has_base */
    bool has_base;
    bool is_write; /* witness: this operation made ts */
};

/* Why a history is refused: two operations and a sentence. */
struct hist_fault {
    const char *what;
    struct hist_op first, second;
};

/* The state that a sequence of operations leaves. APPEND: value * 31 + arg. */
struct hist_value {
    bool live;
    int64_t value;
    int64_t length;
};
/* Runs op on *v and gives what it must have returned. The sequential specification: simulated
 * stores use it too. */
int64_t hist_apply(struct hist_value *v, enum hist_kind kind, int64_t arg, int64_t arg2);

/* Sorts by key, then call: the groups follow each other. */
void history_sort(struct hist_op *ops, size_t n);

/* All three: ops of one key (any order, reordered by the call). True: accepted. */
/* Order by ts is what the protocol claims: every operation that returned before a call has a ts not
 * above the later one's (below, if that one writes); one ts has one writer and one value;
 * same-client order holds. Failed ones and those without a ts are skipped. O(n log n). */
bool check_witness(struct hist_op *ops, size_t n, struct hist_fault *fault);
/* GET and SET with unique values only; absent is the initial value and never comes back. O(n log n)
 * (Gibbons and Korach 1997). */
bool check_zones(struct hist_op *ops, size_t n, struct hist_fault *fault);
/* Any mix (Wing and Gong, with Lowe's memory of states seen). budget: search nodes at most;
 * *gave_up when that was not enough (then the answer is true). Exponential in the operations under
 * way at once. initial NULL: absent. */
bool check_search(struct hist_op *ops, size_t n, uint64_t budget, bool *gave_up,
                  struct hist_fault *fault);

#endif
