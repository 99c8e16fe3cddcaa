/* HOTKEYS in the form of Redis 8.6: START, STOP, and GET and RESET of a session's result. */
#include "proxy/hotkeys_session.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/num.h"
#include "proxy/profile.h"

#define COUNT_DEFAULT 10

/* ---- START's arguments ---- */

static bool take_metrics(const struct hotkeys_asked *q, int *at, unsigned *metrics)
{
    int64_t n = 0;
    if (*at + 1 >= q->argc || !num_parse_i64(q->argv[*at + 1], &n) || n < 1) {
        resp_error(q->out, "ERR METRICS count must be a positive integer");
        return false;
    }
    if (*metrics != 0) {
        resp_error(q->out, "ERR METRICS parameter already specified");
        return false;
    }
    if (n > q->argc - *at - 2) {
        resp_error(q->out, "ERR METRICS count does not match number of metric types provided");
        return false;
    }
    for (int i = 0; i < n; i++) { /* names of other metrics are left to the future */
        struct span name = q->argv[*at + 2 + i];
        unsigned bit = span_is(name, "cpu") ? PROFILE_CPU : span_is(name, "net") ? PROFILE_NET : 0;
        if ((*metrics & bit) != 0) {
            resp_errorf(q->out, "ERR METRICS %s defined more than once",
                        bit == PROFILE_CPU ? "CPU" : "NET");
            return false;
        }
        *metrics |= bit;
    }
    if (*metrics == 0) {
        resp_error(q->out, "ERR METRICS no valid metrics passed. Supported: CPU, NET");
        return false;
    }
    *at += (int)n + 2;
    return true;
}

static bool take_slots(const struct hotkeys_asked *q, int *at, struct profile_options *o)
{
    int64_t n = 0;
    const char *wrong = NULL;
    if (!cluster_presented(q->c->s.w->server)) {
        wrong = "ERR SLOTS parameter cannot be used in non-cluster mode";
    } else if (o->has_slots) {
        wrong = "ERR SLOTS parameter already specified";
    } else if (*at + 1 >= q->argc || !num_parse_i64(q->argv[*at + 1], &n) || n < 1 ||
               n > SLOT_COUNT) {
        wrong = "ERR SLOTS count must be between 1 and 16384";
    } else if (n > q->argc - *at - 2) {
        wrong = "ERR not enough slot numbers provided";
    }
    for (int i = 0; wrong == NULL && i < n; i++) {
        int64_t slot = 0;
        if (!num_parse_i64(q->argv[*at + 2 + i], &slot) || slot < 0 || slot >= SLOT_COUNT) {
            wrong = "ERR Invalid or out of range slot";
        } else if ((o->slots[slot / 8] >> (slot % 8) & 1) != 0) {
            wrong = "ERR duplicate slot number";
        } else {
            o->slots[slot / 8] = (uint8_t)(o->slots[slot / 8] | 1u << (slot % 8));
        }
    }
    if (wrong != NULL) {
        resp_error(q->out, wrong);
        return false;
    }
    o->has_slots = true;
    *at += (int)n + 2;
    return true;
}

/* A number with its bounds; error: what is said if it is not within them. */
static bool take_number(const struct hotkeys_asked *q, int *at, int64_t max, const char *error,
                        int64_t *to)
{
    if (*at + 1 >= q->argc) {
        resp_error(q->out, "ERR syntax error");
        return false;
    }
    if (!num_parse_i64(q->argv[*at + 1], to) || *to < 1 || *to > max) {
        resp_error(q->out, error);
        return false;
    }
    *at += 2;
    return true;
}

static bool take_options(const struct hotkeys_asked *q, struct profile_options *o)
{
    int64_t count = COUNT_DEFAULT;
    int64_t seconds = 0;
    int64_t ratio = 1;
    for (int at = 2; at < q->argc;) {
        bool ok = false;
        if (span_is(q->argv[at], "metrics")) {
            ok = take_metrics(q, &at, &o->metrics);
        } else if (span_is(q->argv[at], "count")) {
            ok = take_number(q, &at, PROFILE_COUNT_MAX, "ERR COUNT must be between 1 and 64",
                             &count);
        } else if (span_is(q->argv[at], "duration")) {
            ok = take_number(q, &at, 1000000, "ERR DURATION must be between 1 and 1000000",
                             &seconds);
        } else if (span_is(q->argv[at], "sample")) {
            ok = take_number(q, &at, INT32_MAX, "ERR SAMPLE ratio must be positive", &ratio);
        } else if (span_is(q->argv[at], "slots")) {
            ok = take_slots(q, &at, o);
        } else {
            resp_error(q->out, "ERR syntax error");
        }
        if (!ok) {
            return false;
        }
    }
    if (o->metrics == 0) {
        resp_error(q->out, "ERR METRICS parameter is required");
        return false;
    }
    o->count = (uint32_t)count;
    o->duration_ms = (uint64_t)seconds * 1000;
    o->ratio = (uint32_t)ratio;
    return true;
}

/* ---- rounds over the workers ---- */

enum job_kind { START, STOP, RESET, GET };

struct job {
    struct later later;
    enum job_kind what;
    struct profile_options with;
    struct rusage usage;
    /* GET: */
    struct profile *sum; /* with.count and the sums; its summaries hold all workers' */
    bool active;
    uint64_t end_ms;
};

/* CPU of the process when the session started, and when it was stopped. */
static struct {
    uint64_t user_ms, sys_ms; /* at the start, then what was used until the stop */
    bool stopped;
} process_cpu; /* worker 0's */

static uint64_t ms_of(struct timeval tv)
{
    return (uint64_t)tv.tv_sec * 1000 + (uint64_t)tv.tv_usec / 1000;
}

static void cpu_at(struct job *j)
{
    (void)getrusage(RUSAGE_SELF, &j->usage);
    uint64_t user = ms_of(j->usage.ru_utime);
    uint64_t sys = ms_of(j->usage.ru_stime);
    if (j->what == START) {
        process_cpu.user_ms = user;
        process_cpu.sys_ms = sys;
        process_cpu.stopped = false;
    } else if (!process_cpu.stopped && (j->what == STOP || j->what == GET)) {
        user -= process_cpu.user_ms;
        sys -= process_cpu.sys_ms;
        if (j->what == STOP) {
            process_cpu.user_ms = user;
            process_cpu.sys_ms = sys;
            process_cpu.stopped = true;
        }
    } else {
        user = process_cpu.user_ms;
        sys = process_cpu.sys_ms;
    }
    j->usage.ru_utime = (struct timeval){.tv_sec = (time_t)user}; /* ms, from here on */
    j->usage.ru_stime = (struct timeval){.tv_sec = (time_t)sys};
}

static void merge(struct sketch *to, struct sketch *from)
{
    if (from == NULL) {
        return;
    }
    uint32_t n = sketch_count(from);
    struct sketch_item *items = mem_alloc((size_t)(n + 1) * sizeof *items);
    n = sketch_top(from, items, n);
    for (uint32_t i = 0; i < n; i++) {
        (void)sketch_add_item(to, &items[i]);
    }
    mem_free(items);
}

static void add_sums(struct profile_sums *to, const struct profile_sums *from)
{
    to->all += from->all;
    to->selected += from->selected;
    to->sampled += from->sampled;
}

static void collect(struct job *j, struct profile *p)
{
    if (j->sum == NULL) {
        j->with = p->with;
        j->sum = profile_new(&p->with, 1);
        j->active = profile_runs(p, clk_wall_ms());
        j->end_ms = j->active ? clk_wall_ms() : p->end_ms;
    }
    merge(j->sum->cpu, p->cpu);
    merge(j->sum->net, p->net);
    add_sums(&j->sum->us, &p->us);
    add_sums(&j->sum->bytes, &p->bytes);
}

static void job_each(struct worker *w, void *arg)
{
    struct job *j = arg;
    struct proxy_worker *pw = w->data;
    if (w->index == 0) {
        cpu_at(j);
    }
    switch (j->what) {
    case START:
        profile_free(pw->profile);
        pw->profile = profile_new(&j->with, (uint32_t)clk_mono_ns());
        break;
    case STOP:
        if (pw->profile != NULL) {
            profile_stop(pw->profile, clk_wall_ms());
        }
        break;
    case RESET:
        profile_free(pw->profile);
        pw->profile = NULL;
        break;
    case GET:
        if (pw->profile != NULL) {
            collect(j, pw->profile);
        }
        break;
    }
}

/* ---- GET's reply ---- */

static void field(struct resp_out *o, const char *name, uint64_t v)
{
    resp_bulk_str(o, name);
    resp_int(o, (int64_t)v);
}

/* Ranges of the selected slots: [first, last], or [only]. */
static void slots_reply(const struct profile_options *with, struct resp_out *o)
{
    size_t mark = resp_defer(o);
    size_t ranges = 0;
    for (unsigned s = 0; s < SLOT_COUNT; s++) {
        if (!profile_has_slot(with, s)) {
            continue;
        }
        unsigned first = s;
        while (s + 1 < SLOT_COUNT && profile_has_slot(with, s + 1)) {
            s++;
        }
        resp_array(o, s > first ? 2 : 1);
        resp_int(o, first);
        if (s > first) {
            resp_int(o, s);
        }
        ranges++;
    }
    resp_defer_end(o, mark, RESP_ARRAY, ranges);
}

static void keys_reply(struct resp_out *o, const char *name, struct sketch *s, uint32_t count)
{
    struct sketch_item items[PROFILE_COUNT_MAX];
    uint32_t n = sketch_top(s, items, count);
    resp_bulk_str(o, name);
    resp_array(o, (size_t)n * 2);
    for (uint32_t i = 0; i < n; i++) {
        resp_bulk_span(o, key_outer(items[i].key));
        resp_int(o, (int64_t)sketch_item_sum(&items[i]));
    }
}

static void get_reply(const struct job *j, struct resp_out *o)
{
    const struct profile *p = j->sum;
    const struct profile_options *with = &j->with;
    bool sampled = with->ratio > 1 && with->has_slots;
    bool cpu = p->cpu != NULL;
    bool net = p->net != NULL;
    resp_array(o, 1);
    size_t pairs =
        7 + (with->has_slots ? 2u : 0) + (sampled ? 2u : 0) + (cpu ? 3u : 0) + (net ? 2u : 0);
    resp_map(o, pairs);
    field(o, "tracking-active", j->active);
    field(o, "sample-ratio", with->ratio);
    resp_bulk_str(o, "selected-slots");
    slots_reply(with, o);
    if (sampled) {
        field(o, "sampled-commands-selected-slots-us", p->us.sampled);
    }
    if (with->has_slots) {
        field(o, "all-commands-selected-slots-us", p->us.selected);
    }
    field(o, "all-commands-all-slots-us", p->us.all);
    if (sampled) {
        field(o, "net-bytes-sampled-commands-selected-slots", p->bytes.sampled);
    }
    if (with->has_slots) {
        field(o, "net-bytes-all-commands-selected-slots", p->bytes.selected);
    }
    field(o, "net-bytes-all-commands-all-slots", p->bytes.all);
    field(o, "collection-start-time-unix-ms", with->start_ms);
    field(o, "collection-duration-ms", j->end_ms - with->start_ms);
    if (cpu) {
        field(o, "total-cpu-time-user-ms", (uint64_t)j->usage.ru_utime.tv_sec);
        field(o, "total-cpu-time-sys-ms", (uint64_t)j->usage.ru_stime.tv_sec);
    }
    if (net) {
        field(o, "total-net-bytes", p->bytes.all);
    }
    if (cpu) {
        keys_reply(o, "by-cpu-time-us", p->cpu, with->count);
    }
    if (net) {
        keys_reply(o, "by-net-bytes", p->net, with->count);
    }
}

static void job_done(struct worker *from, void *arg)
{
    (void)from;
    struct job *j = arg;
    struct buf b = {0};
    struct resp_out o = {&b, j->later.proto};
    if (j->what != GET) {
        resp_ok(&o);
    } else if (j->sum == NULL) { /* it was reset meanwhile */
        resp_null(&o);
    } else {
        get_reply(j, &o);
    }
    later_reply(&j->later, buf_span(&b));
    buf_free(&b);
    profile_free(j->sum);
    mem_free(j);
}

static struct job *job_new(const struct hotkeys_asked *q, enum job_kind what)
{
    struct job *j = mem_zalloc(sizeof *j);
    j->later = later_begin(&q->c->s, q->a, q->out, q->token);
    j->what = what;
    return j;
}

static enum session_result go(const struct hotkeys_asked *q, struct job *j)
{
    server_round(q->c->s.w, job_each, job_done, j);
    return SESSION_LATER;
}

/* ---- the commands ---- */

bool hotkeys_session_is(const struct proxy_worker *pw)
{
    return pw->profile != NULL;
}

static bool is_running(const struct hotkeys_asked *q)
{
    struct profile *p = q->c->pw->profile;
    return p != NULL && profile_runs(p, clk_wall_ms());
}

enum session_result hotkeys_start(const struct hotkeys_asked *q)
{
    struct profile_options with = {.start_ms = clk_wall_ms()};
    if (!take_options(q, &with)) {
        return SESSION_DONE;
    }
    if (is_running(q)) {
        resp_error(q->out, "ERR hotkey tracking session already in progress");
        return SESSION_DONE;
    }
    struct job *j = job_new(q, START);
    j->with = with;
    return go(q, j);
}

enum session_result hotkeys_stop(const struct hotkeys_asked *q)
{
    if (!is_running(q)) {
        resp_null(q->out);
        return SESSION_DONE;
    }
    return go(q, job_new(q, STOP));
}

enum session_result hotkeys_session_get(const struct hotkeys_asked *q)
{
    return go(q, job_new(q, GET));
}

enum session_result hotkeys_session_reset(const struct hotkeys_asked *q)
{
    if (is_running(q)) {
        resp_error(q->out, "ERR hotkey tracking session in progress, stop tracking first");
        return SESSION_DONE;
    }
    return go(q, job_new(q, RESET));
}
