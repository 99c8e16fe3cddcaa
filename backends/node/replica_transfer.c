/* Rate and progress of a learner's state transfer (H10).
 *
 * The learner pulls slice by slice, so it sets the pace: every byte that comes is taken from a
 * budget that fills at transfer-rate, and the next PULL waits while the budget is used up. If the
 * core grows impatient meanwhile and asks again, the newer PULL takes the place of the one that
 * waits. Progress goes into INFO (hermes_transfer_items, _bytes) and, every few seconds and at the
 * end, into the log. */
#include "backends/node/replica_private.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#define BURST_NS 20000000u /* the budget holds at most what comes in so long */
#define SAY_NS 5000000000u /* between lines of progress */
#define NS_PER_S 1000000000.0

static uint64_t rate_of(const struct replica *r)
{
    const struct node_settings *set = r->nw->w->settings;
    return set->transfer_rate;
}

static void fill_budget(struct replica *r, uint64_t rate)
{
    uint64_t now = clk_boot_ns();
    double more = (double)(now - r->pull_filled_ns) * (double)rate / NS_PER_S;
    double most = (double)BURST_NS * (double)rate / NS_PER_S;
    double budget = (double)r->pull_budget + more;
    r->pull_budget = (int64_t)(budget < most ? budget : most);
    r->pull_filled_ns = now;
}

static void send_pull(struct replica *r)
{
    /* Not connected or full: as if lost, the core asks again. */
    if (transport_send(r->transport, r->pull_donor, 0, buf_head(&r->pull_frame),
                       buf_used(&r->pull_frame)) == OK) {
        r->counts.other_sent++;
    }
    buf_consume(&r->pull_frame, buf_used(&r->pull_frame));
}

static void on_budget(void *arg)
{
    struct replica *r = arg;
    if (buf_used(&r->pull_frame) != 0) {
        send_pull(r);
    }
}

void replica_transfer_pull(struct replica *r, uint32_t donor, struct span frame)
{
    uint64_t rate = rate_of(r);
    if (r->pull_started_ns == 0) {
        r->pull_started_ns = r->pull_said_ns = r->pull_filled_ns = clk_boot_ns();
        log_notice("Replica %u takes over the data of its shard from replica %u", r->id, donor);
    }
    buf_consume(&r->pull_frame, buf_used(&r->pull_frame));
    buf_add(&r->pull_frame, frame.p, frame.len);
    r->pull_donor = donor;
    fill_budget(r, rate);
    if (rate == 0 || r->pull_budget >= 0) {
        r->pull_budget = rate == 0 ? 0 : r->pull_budget;
        send_pull(r);
        return;
    }
    loop_timer_start(r->pull_timer, (uint64_t)((double)-r->pull_budget * 1e6 / (double)rate) + 1u);
}

static void say(const struct replica *r, const char *what, uint64_t now)
{
    double seconds = (double)(now - r->pull_started_ns) / NS_PER_S;
    double bytes = (double)r->counts.transfer_bytes;
    log_notice("Replica %u %s: %llu keys, %.1f MiB in %.1f s (%.0f keys/s)", r->id, what,
               (unsigned long long)r->counts.transfer_items, bytes / 1048576.0, seconds,
               seconds > 0 ? (double)r->counts.transfer_items / seconds : 0.0);
}

void replica_transfer_got(struct replica *r, size_t bytes)
{
    r->counts.transfer_items++;
    r->counts.transfer_bytes += bytes;
    r->pull_budget -= (int64_t)bytes;
    if (r->counts.transfer_items % 1024 == 0 && clk_boot_ns() - r->pull_said_ns > SAY_NS) {
        r->pull_said_ns = clk_boot_ns();
        say(r, "is catching up", r->pull_said_ns);
    }
}

void replica_transfer_end(struct replica *r)
{
    say(r, "has caught up with its shard", clk_boot_ns());
    r->pull_started_ns = 0;
    if (r->membership != NULL) {
        membership_caught_up(r->membership, r->nw->w, r->id);
    }
}

void replica_transfer_start(struct replica *r)
{
    r->pull_timer = loop_timer_new(r->nw->w->loop, on_budget, r);
}

void replica_transfer_reset(struct replica *r)
{
    loop_timer_stop(r->pull_timer);
    buf_consume(&r->pull_frame, buf_used(&r->pull_frame));
    r->pull_started_ns = 0;
    r->pull_budget = 0;
}

void replica_transfer_stop(struct replica *r)
{
    loop_timer_free(r->pull_timer);
    buf_free(&r->pull_frame);
}
