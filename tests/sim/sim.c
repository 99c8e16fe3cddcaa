/* Simulated time, network, clocks and node faults.
 *
 * Events are kept in a binary heap ordered by (true time, sequence number), so equal times keep the
 * order in which they were scheduled. A node's clock runs at its own rate: own = base_own + (true -
 * base_true) * rate. Faults are drawn by one recurring nemesis event; message faults are drawn when
 * a message is sent. After end_at everything is healed, the world stops its clients, and it must
 * settle within a bounded time: a run that does not is a failure, never skipped. */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <string.h>

#include "common/mem.h"
#include "common/must.h"

enum event_kind {
    EV_FRAME,
    EV_WAKE,
    EV_WORLD,
    EV_NEMESIS,
    EV_UNCUT,
    EV_RESUME,
    EV_RESTART,
    EV_END
};

struct sim_event {
    uint64_t at, sequence;
    enum event_kind kind;
    uint32_t world_kind;
    uint64_t a, b;
    struct sim_event *next;
    uint16_t len;
    uint8_t frame[SIM_FRAME_MAX];
};

#define NEMESIS_NS (10 * SIM_MS)
#define SETTLE_NS (20000 * SIM_MS)

uint32_t sim_choose(struct sim *s, enum choose_site site, uint32_t n)
{
    return chooser_pick(&s->choose, site, n);
}

bool sim_chance(struct sim *s, enum choose_site site, uint32_t num, uint32_t den)
{
    return sim_choose(s, site, den) >= den - num;
}

bool sim_fault(struct sim *s, enum choose_site site, uint8_t level, uint32_t per)
{
    if (level == 0 || s->healed) {
        return false;
    }
    return sim_chance(s, site, level == 1 ? 1 : 8, per);
}

void sim_hash(struct sim *s, uint64_t v)
{
    s->hash = (s->hash ^ v) * UINT64_C(0x100000001B3);
    s->hash ^= s->hash >> 29;
}

void sim_mark(struct sim *s, unsigned mark)
{
    must(mark < sizeof s->marks / sizeof s->marks[0]);
    s->marks[mark]++;
}

void sim_fail(struct sim *s, const char *fmt, ...)
{
    if (s->failed) {
        return;
    }
    s->failed = true;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(s->failure, sizeof s->failure, fmt, ap);
    va_end(ap);
    if (s->verbose) {
        printf("%10.3f ms  VIOLATION %s\n", (double)s->now / 1e6, s->failure);
    }
}

void sim_note(struct sim *s, const char *fmt, ...)
{
    if (!s->verbose) {
        return;
    }
    printf("%10.3f ms  ", (double)s->now / 1e6);
    va_list ap;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
}

/* ---- event queue ---- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at != b->at ? a->at < b->at : a->sequence < b->sequence;
}

static struct sim_event *event_new(struct sim *s, uint64_t at, enum event_kind kind, uint64_t a,
                                   uint64_t b)
{
    struct sim_event *e = s->free_events;
    if (e != NULL) {
        s->free_events = e->next;
    } else {
        e = mem_alloc(sizeof *e);
    }
    e->at = at;
    e->sequence = s->sequence++;
    e->kind = kind;
    e->a = a;
    e->b = b;
    e->len = 0;
    e->next = NULL;
    return e;
}

static void event_free(struct sim *s, struct sim_event *e)
{
    e->next = s->free_events;
    s->free_events = e;
}

static void event_push(struct sim *s, struct sim_event *e)
{
    if (s->heap_count == sizeof s->heap / sizeof s->heap[0]) {
        sim_fail(s, "event queue overflow: a storm of messages");
        event_free(s, e);
        return;
    }
    size_t i = s->heap_count++;
    while (i > 0 && before(e, s->heap[(i - 1) / 2])) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->heap[i] = e;
}

static struct sim_event *event_pop(struct sim *s)
{
    struct sim_event *top = s->heap[0];
    struct sim_event *last = s->heap[--s->heap_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= s->heap_count) {
            break;
        }
        if (child + 1 < s->heap_count && before(s->heap[child + 1], s->heap[child])) {
            child++;
        }
        if (!before(s->heap[child], last)) {
            break;
        }
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last;
    return top;
}

static void schedule(struct sim *s, uint64_t delay, enum event_kind kind, uint64_t a, uint64_t b)
{
    event_push(s, event_new(s, s->now + delay, kind, a, b));
}

void sim_at(struct sim *s, uint64_t delay_ns, uint32_t kind, uint64_t a, uint64_t b)
{
    struct sim_event *e = event_new(s, s->now + delay_ns, EV_WORLD, a, b);
    e->world_kind = kind;
    event_push(s, e);
}

/* ---- clocks ---- */

uint64_t sim_clock(const struct sim *s, unsigned node)
{
    const struct sim_node *n = &s->nodes[node];
    uint64_t run = s->now - n->base_true;
    return n->base_own + run / 1000000 * n->rate_ppm + run % 1000000 * n->rate_ppm / 1000000;
}

static void clock_rebase(struct sim *s, unsigned node, uint64_t jump_ns, uint64_t rate_ppm)
{
    struct sim_node *n = &s->nodes[node];
    n->base_own = sim_clock(s, node) + jump_ns;
    n->base_true = s->now;
    n->rate_ppm = rate_ppm;
}

void sim_wake_at(struct sim *s, unsigned node, uint64_t own_ns)
{
    struct sim_node *n = &s->nodes[node];
    if (n->wake_at == own_ns) {
        return;
    }
    n->wake_at = own_ns;
    n->wake_generation++;
    if (own_ns == SIM_NEVER) {
        return;
    }
    uint64_t own = sim_clock(s, node);
    uint64_t wait = own_ns > own ? (own_ns - own) * 1000000 / n->rate_ppm + 1 : 0;
    schedule(s, wait + n->slow_ns, EV_WAKE, node, n->wake_generation);
}

/* ---- network ---- */

static uint64_t draw_delay(struct sim *s)
{
    uint64_t d = 20000; /* 20 us */
    if (s->healed) {
        return d;
    }
    d += 1000 * (uint64_t)sim_choose(s, SITE_NET, 40);
    if (sim_fault(s, SITE_NET, s->faults.delay, 60)) { /* heavy tail: up to about 65 ms */
        d += SIM_MS << sim_choose(s, SITE_NET, 7);
    }
    return d;
}

static void put_frame(struct sim *s, unsigned from, unsigned to, const uint8_t *frame, size_t len,
                      uint64_t delay)
{
    struct sim_event *e = event_new(s, s->now + delay, EV_FRAME, from, to);
    memcpy(e->frame, frame, len);
    e->len = (uint16_t)len;
    event_push(s, e);
}

void sim_send(struct sim *s, unsigned from, unsigned to, const uint8_t *frame, size_t len)
{
    must(len <= SIM_FRAME_MAX && from < s->node_count && to < s->node_count);
    if (s->cut[from][to] || sim_fault(s, SITE_NET, s->faults.drop, 100)) {
        return;
    }
    uint64_t delay = draw_delay(s) + s->nodes[from].slow_ns;
    bool reorder = sim_fault(s, SITE_NET, s->faults.reorder, 24);
    if (!reorder) { /* FIFO per link */
        uint64_t at = s->now + delay;
        if (at <= s->last_arrival[from][to]) {
            at = s->last_arrival[from][to] + 1;
        }
        s->last_arrival[from][to] = at;
        delay = at - s->now;
    }
    if (sim_fault(s, SITE_NET, s->faults.truncate, 200)) {
        len = sim_choose(s, SITE_NET, (uint32_t)len);
    }
    put_frame(s, from, to, frame, len, delay);
    if (sim_fault(s, SITE_NET, s->faults.duplicate, 60)) {
        put_frame(s, from, to, frame, len, delay + draw_delay(s));
    }
    if (sim_fault(s, SITE_NET, s->faults.late_duplicate, 120)) {
        put_frame(s, from, to, frame, len, delay + SIM_MS * (1 + sim_choose(s, SITE_NET, 1500)));
    }
}

void sim_post(struct sim *s, unsigned from, unsigned to, const uint8_t *frame, size_t len)
{
    must(len <= SIM_FRAME_MAX && from < s->node_count && to < s->node_count);
    uint64_t at = s->now + draw_delay(s);
    if (at <= s->last_arrival[from][to]) {
        at = s->last_arrival[from][to] + 1;
    }
    s->last_arrival[from][to] = at;
    put_frame(s, from, to, frame, len, at - s->now);
}

static void arrive(struct sim *s, struct sim_event *e)
{
    unsigned from = (unsigned)e->a;
    unsigned to = (unsigned)e->b;
    struct sim_node *n = &s->nodes[to];
    if (!n->up) {
        event_free(s, e);
        return;
    }
    if (n->paused) {
        e->next = NULL;
        if (n->held_tail != NULL) {
            n->held_tail->next = e;
        } else {
            n->held = e;
        }
        n->held_tail = e;
        return;
    }
    sim_hash(s, s->now ^ (uint64_t)from << 60 ^ (uint64_t)to << 56 ^ e->len);
    for (unsigned i = 0; i < e->len; i += 8) {
        sim_hash(s, e->frame[i]);
    }
    s->world_ops->deliver(s, to, from, e->frame, e->len);
    event_free(s, e);
}

/* ---- node faults ---- */

static void drop_held(struct sim *s, struct sim_node *n)
{
    while (n->held != NULL) {
        struct sim_event *e = n->held;
        n->held = e->next;
        event_free(s, e);
    }
    n->held_tail = NULL;
}

void sim_crash(struct sim *s, unsigned node)
{
    struct sim_node *n = &s->nodes[node];
    if (!n->up || (s->world_ops->may_crash != NULL && !s->world_ops->may_crash(s, node))) {
        return;
    }
    sim_note(s, "node %u crashes", node);
    n->up = false;
    n->paused = false;
    drop_held(s, n);
    sim_wake_at(s, node, SIM_NEVER);
    s->world_ops->crash(s, node);
}

void sim_restart(struct sim *s, unsigned node)
{
    if (s->nodes[node].up) {
        return;
    }
    sim_note(s, "node %u restarts", node);
    s->nodes[node].up = true;
    s->world_ops->restart(s, node);
}

void sim_pause(struct sim *s, unsigned node)
{
    if (s->nodes[node].up && !s->nodes[node].paused) {
        sim_note(s, "node %u is paused", node);
        s->nodes[node].paused = true;
    }
}

void sim_resume(struct sim *s, unsigned node)
{
    struct sim_node *n = &s->nodes[node];
    if (!n->paused) {
        return;
    }
    sim_note(s, "node %u goes on", node);
    n->paused = false;
    while (n->held != NULL && !n->paused &&
           n->up) { /* the backlog, all at once, before it looks at its timers */
        struct sim_event *e = n->held;
        n->held = e->next;
        if (n->held == NULL) {
            n->held_tail = NULL;
        }
        e->next = NULL;
        arrive(s, e);
    }
    uint64_t wake = n->wake_at;
    n->wake_at = SIM_NEVER;
    sim_wake_at(s, node, wake);
}

static void nemesis_links(struct sim *s)
{
    if (sim_fault(s, SITE_LINK, s->faults.cut, 160)) {
        unsigned a = sim_choose(s, SITE_LINK, s->node_count);
        unsigned b = sim_choose(s, SITE_LINK, s->node_count);
        s->cut[a][b] = true;
        s->cut[b][a] = !(s->faults.cut_one_way != 0 && sim_choose(s, SITE_LINK, 2) != 0);
        sim_note(s, "link %u-%u is cut%s", a, b, s->cut[b][a] ? "" : " one way");
        schedule(s, SIM_MS * (5 + sim_choose(s, SITE_LINK, 600)), EV_UNCUT, a, b);
    }
}

static void nemesis_nodes(struct sim *s)
{
    unsigned x = sim_choose(s, SITE_NODE, s->fault_nodes);
    if (sim_fault(s, SITE_NODE, s->faults.crash, 300)) {
        sim_crash(s, x);
        schedule(s, SIM_MS * (1 + sim_choose(s, SITE_NODE, 900)), EV_RESTART, x, 0);
    } else if (sim_fault(s, SITE_NODE, s->faults.pause, 200) && s->nodes[x].up) {
        sim_pause(s, x);
        schedule(s, SIM_MS * (1 + sim_choose(s, SITE_NODE, 900)), EV_RESUME, x, 0);
    }
    if (sim_fault(s, SITE_NODE, s->faults.slow, 200)) {
        s->nodes[x].slow_ns =
            s->nodes[x].slow_ns == 0 ? SIM_MS * (1 + sim_choose(s, SITE_NODE, 20)) : 0;
    }
    if (sim_fault(s, SITE_CLOCK, s->faults.suspend, 300) &&
        (s->jump_nodes == 0 || x < s->jump_nodes)) { /* the machine slept: its clock counts that */
        sim_note(s, "clock of node %u jumps", x);
        clock_rebase(s, x, SIM_MS * (1 + sim_choose(s, SITE_CLOCK, 700)), s->nodes[x].rate_ppm);
    }
}

static void draw_faults(struct sim *s)
{
    struct sim_faults *f = &s->faults;
    uint8_t *levels[] = {&f->drop,     &f->duplicate, &f->late_duplicate, &f->delay, &f->reorder,
                         &f->truncate, &f->cut,       &f->cut_one_way,    &f->crash, &f->pause,
                         &f->slow,     &f->drift,     &f->suspend,        &f->member};
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        *levels[i] = (uint8_t)sim_choose(s, SITE_CONFIG, 3);
    }
    for (unsigned i = 0; i < SIM_NODES_MAX; i++) {
        s->nodes[i] = (struct sim_node){.rate_ppm = 1000000, .wake_at = SIM_NEVER};
        s->nodes[i].base_own =
            1000 * SIM_MS + SIM_MS * 1000 * (uint64_t)sim_choose(s, SITE_CLOCK, 100);
        if (f->drift != 0) { /* heavy: exactly at the bound */
            uint64_t span = (f->drift == 2 ? s->rho_ppm : s->rho_ppm / 10) * s->drift_times;
            uint32_t pick = sim_choose(s, SITE_CLOCK, 3);
            s->nodes[i].rate_ppm = pick == 0   ? 1000000
                                   : pick == 1 ? 1000000 - span
                                               : 1000000 + span;
        }
    }
}

static void heal(struct sim *s)
{
    s->healed = true;
    memset(s->cut, 0, sizeof s->cut);
    for (unsigned i = 0; i < s->node_count; i++) {
        s->nodes[i].slow_ns = 0;
        sim_resume(s, i);
    }
    sim_note(s, "healed");
    s->world_ops->heal(s);
}

static void dispatch(struct sim *s, struct sim_event *e)
{
    unsigned a = (unsigned)e->a;
    switch (e->kind) {
    case EV_FRAME:
        arrive(s, e);
        return;
    case EV_WAKE:
        if (e->b == s->nodes[a].wake_generation && s->nodes[a].up && !s->nodes[a].paused) {
            s->nodes[a].wake_at = SIM_NEVER;
            s->world_ops->wake(s, a);
        }
        break;
    case EV_WORLD:
        s->world_ops->event(s, e->world_kind, e->a, e->b);
        break;
    case EV_NEMESIS:
        if (!s->healed) {
            nemesis_links(s);
            nemesis_nodes(s);
            schedule(s, NEMESIS_NS, EV_NEMESIS, 0, 0);
        }
        break;
    case EV_UNCUT:
        s->cut[e->a][e->b] = false;
        s->cut[e->b][e->a] = false;
        break;
    case EV_RESUME:
        sim_resume(s, a);
        break;
    case EV_RESTART:
        if (!s->healed) { /* after that the world says who comes back */
            sim_restart(s, a);
        }
        break;
    case EV_END:
        heal(s);
        break;
    }
    event_free(s, e);
}

struct sim *sim_new(const struct sim_world *w)
{
    struct sim *s = mem_zalloc(sizeof *s);
    s->world_ops = w;
    s->world = mem_zalloc(w->state_bytes);
    s->rho_ppm = 10000;
    s->drift_times = 1;
    s->hash = UINT64_C(0xCBF29CE484222325);
    return s;
}

void sim_free(struct sim *s)
{
    while (s->heap_count > 0) {
        event_free(s, s->heap[--s->heap_count]);
    }
    for (unsigned i = 0; i < SIM_NODES_MAX; i++) {
        drop_held(s, &s->nodes[i]);
    }
    while (s->free_events != NULL) {
        struct sim_event *e = s->free_events;
        s->free_events = e->next;
        mem_free(e);
    }
    mem_free(s->world);
    mem_free(s);
}

void sim_begin(struct sim *s)
{
    s->step_max = 200000;
    draw_faults(s);
    s->world_ops->setup(s);
}

void sim_advance(struct sim *s, uint64_t ns)
{
    uint64_t until = s->now + ns;
    while (!s->failed && s->heap_count > 0 && s->heap[0]->at <= until) {
        struct sim_event *e = event_pop(s);
        s->now = e->at;
        dispatch(s, e);
        if (++s->steps > s->step_max) {
            sim_fail(s, "a storm of messages");
        }
    }
    s->now = until;
}

void sim_end(struct sim *s)
{
    if (!s->failed) {
        s->world_ops->judge(s);
    }
    s->world_ops->teardown(s);
}

bool sim_run(struct sim *s)
{
    draw_faults(s);
    s->step_max = 2000000;
    s->end_at = 2500 * SIM_MS;
    s->world_ops->setup(s);
    schedule(s, NEMESIS_NS, EV_NEMESIS, 0, 0);
    schedule(s, s->end_at, EV_END, 0, 0);
    while (!s->failed && s->heap_count > 0) {
        struct sim_event *e = event_pop(s);
        must(e->at >= s->now);
        s->now = e->at;
        s->steps++;
        dispatch(s, e);
        if (s->healed && (s->steps & 63) == 0 && s->world_ops->settled(s)) {
            break;
        }
        if (s->steps > s->step_max || s->now > s->end_at + SETTLE_NS) {
            sim_fail(s, "stuck: not settled after %llu steps", (unsigned long long)s->steps);
        }
    }
    if (!s->failed) {
        s->world_ops->judge(s);
    }
    s->world_ops->teardown(s);
    return !s->failed;
}
