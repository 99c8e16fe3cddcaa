/* sim: runs seeds, tapes, mutants; shrinks failures.
 *
 *   sim --protocol hermes --seeds A..B     every seed from A up to B; prints the first failure and
 *                                          writes S.tape
 *   sim --protocol hermes --seed S [-v]    one run, with its trace and hash
 *   sim --protocol hermes --tape F [-v]    replays a tape
 *   sim --protocol hermes --shrink F       makes a failing tape smaller, in place (F.min)
 *   sim [--protocol hermes] --minutes N    fresh seeds until the time is over; without --protocol
 * the worlds share it sim --protocol hermes --odometer D     all choice sequences of the first D
 * choices (a bounded number of runs) sim --protocol hermes --mutants        (mutant build) every
 * mutant must be found within the budget sim --protocol hermes --bench          steps per second
 *   sim --protocol hermes --scenarios      the scripted runs
 *   --marks                                with --seeds: fail when a coverage mark was never hit
 *   --drift-times N --must-fail            clocks N times worse than promised: the checks must
 *                                          notice
 *   --hash                                 with --seeds: print one hash of all traces (determinism
 *                                          check)
 *   --expect H                             with --tape: fail unless the trace hash is H
 *                                          (hexadecimal) */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mem.h"
#include "tests/sim/sim.h"
#include "tests/sim/world_cluster.h"
#include "tests/sim/world_galene.h"
#include "tests/sim/world_hermes.h"
#include "tests/sim/world_member.h"

static const struct sim_world *const worlds[] = {&world_hermes, &world_member, &world_cluster,
                                                 &world_galene};

struct options {
    const struct sim_world *world;
    const char *mode, *file, *only;
    uint64_t from, to, seconds, expect;
    uint64_t drift_times;
    size_t depth;
    bool verbose, marks, hash, has_expect, scenarios, must_fail;
    bool all_worlds; /* none was named */
};

struct total {
    uint64_t runs, steps, hash;
    uint64_t marks[256];
};

static struct sim *make(const struct options *o)
{
    struct sim *s = sim_new(o->world);
    s->verbose = o->verbose;
    s->drift_times = o->drift_times;
    return s;
}

static void unmake(struct sim *s)
{
    chooser_deinit(&s->choose);
    sim_free(s);
}

static void add(struct total *t, const struct sim *s)
{
    t->runs++;
    t->steps += s->steps;
    t->hash = t->hash * UINT64_C(0x100000001B3) ^ s->hash;
    for (size_t i = 0; i < sizeof t->marks / sizeof t->marks[0]; i++) {
        t->marks[i] += s->marks[i];
    }
}

/* A tape: one choice per line, its site and what was chosen. */
struct tape {
    uint32_t *picks;
    uint8_t *sites; /* NULL: no sites, the order counts (odometer) */
    size_t count;
};

static struct tape tape_of(const struct chooser *c)
{
    return (struct tape){c->tape, c->sites, c->count};
}

static void tape_free(struct tape *t)
{
    mem_free(t->picks);
    mem_free(t->sites);
}

static bool tape_write(const char *file, const struct tape *t)
{
    FILE *f = fopen(file, "we");
    if (f == NULL) {
        fprintf(stderr, "sim: cannot write %s\n", file);
        return false;
    }
    for (size_t i = 0; i < t->count; i++) {
        fprintf(f, "%u %" PRIu32 "\n", t->sites[i], t->picks[i]);
    }
    return fclose(f) == 0;
}

static struct tape tape_read(const char *file)
{
    FILE *f = fopen(file, "re");
    if (f == NULL) {
        fprintf(stderr, "sim: cannot read %s\n", file);
        exit(2);
    }
    struct tape t = {mem_alloc(1), mem_alloc(1), 0};
    size_t capacity = 0;
    char line[64];
    while (fgets(line, sizeof line, f) != NULL) {
        if (line[0] == '#') { /* the note at the top of a kept tape */
            continue;
        }
        if (t.count == capacity) {
            capacity = capacity == 0 ? 4096 : 2 * capacity;
            t.picks = mem_realloc(t.picks, capacity * sizeof *t.picks);
            t.sites = mem_realloc(t.sites, capacity);
        }
        char *end = line;
        t.sites[t.count] = (uint8_t)strtoul(line, &end, 10);
        t.picks[t.count++] = (uint32_t)strtoul(end, NULL, 10);
    }
    fclose(f);
    return t;
}

/* One seed. False: failed, told, and its tape written. */
static bool run_seed(const struct options *o, uint64_t seed, struct total *t, bool quiet)
{
    struct sim *s = make(o);
    s->seed = seed;
    chooser_init_seed(&s->choose, seed);
    bool ok = sim_run(s);
    add(t, s);
    if (o->verbose) {
        printf("seed %" PRIu64 ": %" PRIu64 " steps, hash %016" PRIx64 "\n", seed, s->steps,
               s->hash);
    }
    if (!ok && !quiet) {
        char file[64];
        snprintf(file, sizeof file, "%s-%" PRIu64 ".tape", o->world->name, seed);
        printf("FAILED: sim --protocol %s --seed %" PRIu64 "\n  %s\n", o->world->name, seed,
               s->failure);
        struct tape t_of = tape_of(&s->choose);
        if (tape_write(file, &t_of)) {
            printf("  tape: %s\n", file);
        }
    }
    unmake(s);
    return ok;
}

static bool run_tape(const struct options *o, const struct tape *t, struct sim **keep)
{
    struct sim *s = make(o);
    chooser_init_tape(&s->choose, t->picks, t->sites, t->count);
    bool ok = sim_run(s);
    if (keep != NULL) {
        *keep = s;
    } else {
        unmake(s);
    }
    return ok;
}

static bool marks_ok(const struct options *o, const struct total *t)
{
    bool ok = true;
    for (size_t i = 0; o->world->marks[i] != NULL; i++) {
        const char *name = o->world->marks[i];
        bool odd = strncmp(name, "ODD_", 4) == 0;
        bool wrong = (t->marks[i] == 0) != (strcmp(name, "IMPOSSIBLE") == 0) && !odd;
        if (o->verbose || wrong) {
            printf("mark %-24s %" PRIu64 "%s\n", name, t->marks[i], wrong ? "  <-- wrong" : "");
        }
        ok = ok && !wrong;
    }
    return ok;
}

static int run_seeds(struct options *o)
{
    struct total t = {0};
    uint64_t start = clk_mono_ns();
    bool verbose = o->verbose;
    o->verbose = false;
    for (uint64_t seed = o->from; seed <= o->to; seed++) {
        if (!run_seed(o, seed, &t, o->must_fail)) {
            if (o->must_fail) {
                printf("found after %" PRIu64 " runs, as it should be\n", t.runs);
            }
            return o->must_fail ? 0 : 1;
        }
        if (o->seconds != 0 && clk_mono_ns() - start > o->seconds * UINT64_C(1000000000)) {
            break;
        }
    }
    double seconds = (double)(clk_mono_ns() - start) / 1e9;
    o->verbose = verbose;
    printf("%s: %" PRIu64 " runs, %" PRIu64 " steps, no violation, %.1f s", o->world->name, t.runs,
           t.steps, seconds);
    printf(", %.2f M steps/s\n", (double)t.steps / seconds / 1e6);
    if (o->hash) {
        printf("hash %016" PRIx64 "\n", t.hash);
    }
    return !o->must_fail && (!o->marks || marks_ok(o, &t)) ? 0 : 1;
}

/* How many runs it took to find the mutant; 0: not found. In a process of its own, since a wrong
 * line may well end in an assertion. */
static uint64_t mutant_runs(const struct options *o, unsigned m)
{
    uint64_t *seed =
        mmap(NULL, sizeof *seed, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (seed == MAP_FAILED) {
        return 0;
    }
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (freopen("/dev/null", "we", stderr) == NULL) {
            _exit(2);
        }
        o->world->mutant_set(m);
        struct total t = {0};
        bool ok = !o->scenarios || o->world->scenarios == NULL || o->world->scenarios() == 0;
        for (*seed = o->from; ok && *seed <= o->to; ++*seed) {
            ok = run_seed(o, *seed, &t, true);
        }
        _exit(ok ? 0 : 1);
    }
    int status = 0;
    bool found = child > 0 && waitpid(child, &status, 0) == child &&
                 !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    uint64_t runs = !found ? 0 : *seed > o->from ? *seed - o->from : 1;
    munmap(seed, sizeof *seed);
    return runs;
}

static int run_mutants(struct options *o)
{
    if (o->world->mutants == NULL) {
        fprintf(stderr, "sim: this is not the mutant build\n");
        return 2;
    }
    unsigned survivors = 0;
    for (unsigned m = 1; o->world->mutants[m] != NULL; m++) {
        if (o->only != NULL && strcmp(o->only, o->world->mutants[m]) != 0) {
            continue;
        }
        uint64_t runs = mutant_runs(o, m);
        if (runs != 0) {
            printf("killed   %-26s after %" PRIu64 " runs\n", o->world->mutants[m], runs);
        } else {
            printf("SURVIVES %-26s\n", o->world->mutants[m]);
            survivors++;
        }
        fflush(stdout);
    }
    printf("%u survivors\n", survivors);
    return survivors == 0 ? 0 : 1;
}

/* Sets picks[from..from+n) of the given site (SITE_COUNT: of all) to 0; keeps that if the run still
 * fails. */
static bool try_zero(const struct options *o, struct tape *t, size_t from, size_t n, unsigned site)
{
    uint32_t *saved = mem_alloc(n * sizeof *saved);
    memcpy(saved, t->picks + from, n * sizeof *saved);
    bool change = false;
    for (size_t i = from; i < from + n; i++) {
        if (t->picks[i] != 0 && (site == SITE_COUNT || t->sites[i] == site)) {
            change = true;
            t->picks[i] = 0;
        }
    }
    bool fails = change && !run_tape(o, t, NULL);
    if (!fails) {
        memcpy(t->picks + from, saved, n * sizeof *saved);
    }
    mem_free(saved);
    return fails;
}

/* RELIABILITY 2.7: cut after the failing step, whole classes of choices to 0, blocks to 0, single
 * ones to 0, the rest towards 0. */
static void shrink(const struct options *o, struct tape *t)
{
    unsigned attempts = 0;
    for (size_t cut = t->count / 2; cut > 0; cut /= 2) {
        t->count -= cut;
        while (t->count >= cut && !run_tape(o, t, NULL)) {
            t->count -= cut;
        }
        t->count += cut;
    }
    for (unsigned site = 0; site < SITE_COUNT; site++) {
        try_zero(o, t, 0, t->count, site);
    }
    for (size_t block = t->count / 2; block > 0 && attempts < 4000; block /= 2) {
        for (size_t at = 0; at + block <= t->count && attempts < 4000; at += block, attempts++) {
            try_zero(o, t, at, block, SITE_COUNT);
        }
    }
    for (size_t i = 0; i < t->count && attempts < 6000; i++) {
        while (t->picks[i] > 1) {
            uint32_t was = t->picks[i];
            t->picks[i] /= 2;
            attempts++;
            if (run_tape(o, t, NULL)) {
                t->picks[i] = was;
                break;
            }
        }
    }
}

static int run_shrink(const struct options *o)
{
    struct tape t = tape_read(o->file);
    if (run_tape(o, &t, NULL)) {
        printf("this tape does not fail\n");
        tape_free(&t);
        return 1;
    }
    shrink(o, &t);
    struct sim *s = NULL;
    run_tape(o, &t, &s);
    size_t left = 0;
    for (size_t i = 0; i < t.count; i++) {
        left += t.picks[i] != 0;
    }
    char file[512];
    snprintf(file, sizeof file, "%s.min", o->file);
    tape_write(file, &t);
    printf("%s: %zu choices that matter, %" PRIu64 " steps, hash %016" PRIx64 "\n  %s\n", file,
           left, s->steps, s->hash, s->failure);
    unmake(s);
    tape_free(&t);
    return 0;
}

static int run_odometer(const struct options *o)
{
    size_t depth = o->depth;
    uint32_t *tape = mem_zalloc((depth + 1) * sizeof *tape);
    struct tape t = {.picks = tape};
    uint64_t runs = 0;
    bool more = true;
    while (more && runs < o->to) {
        struct sim *s = NULL;
        if (!run_tape(o, &t, &s)) {
            printf("FAILED after %" PRIu64 " runs: %s\n", runs, s->failure);
            struct tape failed = tape_of(&s->choose);
            tape_write("odometer.tape", &failed);
            unmake(s);
            mem_free(tape);
            return 1;
        }
        more = odometer_next(&s->choose, depth, tape, &t.count);
        unmake(s);
        runs++;
    }
    printf("odometer: %" PRIu64 " runs%s\n", runs, more ? " (bounded)" : ", all of them");
    mem_free(tape);
    return 0;
}

static int run_one_tape(const struct options *o)
{
    struct tape t = tape_read(o->file);
    struct sim *s = NULL;
    bool ok = run_tape(o, &t, &s);
    printf("%s: %" PRIu64 " steps, hash %016" PRIx64 "%s%s\n", o->file, s->steps, s->hash,
           ok ? "" : ": ", s->failure);
    bool same = !o->has_expect || s->hash == o->expect;
    if (!same) {
        printf("the trace is not the expected one: shrink it anew from its seed\n");
    }
    unmake(s);
    tape_free(&t);
    return ok && same ? 0 : 1;
}

/* An input of the fuzzer (sim_fuzz.c), run again; its choices become a tape. */
static int run_bytes(const struct options *o)
{
    static uint8_t bytes[1 << 20];
    FILE *f = fopen(o->file, "re");
    if (f == NULL) {
        fprintf(stderr, "sim: cannot read %s\n", o->file);
        return 2;
    }
    size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    struct sim *s = make(o);
    chooser_init_bytes(&s->choose, bytes, n);
    bool ok = sim_run(s);
    printf("%s: %" PRIu64 " steps, hash %016" PRIx64 "%s%s\n", o->file, s->steps, s->hash,
           ok ? "" : ": ", s->failure);
    if (!ok) {
        struct tape t = tape_of(&s->choose);
        tape_write("bytes.tape", &t);
    }
    unmake(s);
    return ok ? 0 : 1;
}

static void parse(struct options *o, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        const char *v = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(a, "-v") == 0) {
            o->verbose = true;
        } else if (strcmp(a, "--marks") == 0) {
            o->marks = true;
        } else if (strcmp(a, "--must-fail") == 0) {
            o->must_fail = true;
        } else if (strcmp(a, "--drift-times") == 0) {
            o->drift_times = strtoull(v, NULL, 10);
            i++;
        } else if (strcmp(a, "--no-scenarios") == 0) {
            o->scenarios = false;
        } else if (strcmp(a, "--hash") == 0) {
            o->hash = true;
        } else if (strcmp(a, "--mutants") == 0 || strcmp(a, "--bench") == 0 ||
                   strcmp(a, "--scenarios") == 0) {
            o->mode = a;
        } else if (strcmp(a, "--protocol") == 0) {
            o->world = NULL;
            o->all_worlds = false;
            for (size_t w = 0; w < sizeof worlds / sizeof worlds[0]; w++) {
                o->world = strcmp(worlds[w]->name, v) == 0 ? worlds[w] : o->world;
            }
            i++;
        } else if (strcmp(a, "--seeds") == 0) {
            char *end = NULL;
            o->from = strtoull(v, &end, 10);
            o->to = strncmp(end, "..", 2) == 0 ? strtoull(end + 2, NULL, 10) : o->from;
            i++;
        } else if (strcmp(a, "--odometer") == 0) {
            o->mode = a;
            o->depth = (size_t)strtoull(v, NULL, 10);
            i++;
        } else if (strcmp(a, "--seed") == 0) {
            o->mode = a;
            o->from = strtoull(v, NULL, 10);
            i++;
        } else if (strcmp(a, "--minutes") == 0) {
            o->seconds = 60 * strtoull(v, NULL, 10);
            o->from = clk_wall_us();
            o->to = UINT64_MAX;
            i++;
        } else if (strcmp(a, "--only") == 0) {
            o->only = v;
            i++;
        } else if (strcmp(a, "--expect") == 0) {
            o->has_expect = true;
            o->expect = strtoull(v, NULL, 16);
            i++;
        } else if (strcmp(a, "--bytes") == 0 || strcmp(a, "--tape") == 0 ||
                   strcmp(a, "--shrink") == 0) {
            o->mode = a;
            o->file = v;
            i++;
        } else {
            fprintf(stderr, "sim: what is %s?\n", a);
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    struct options o = {.world = worlds[0],
                        .all_worlds = true,
                        .mode = "--seeds",
                        .from = 1,
                        .to = 200,
                        .scenarios = true,
                        .drift_times = 1};
    parse(&o, argc, argv);
    if (o.world == NULL) {
        fprintf(stderr, "sim: no such protocol\n");
        return 2;
    }
    if (strcmp(o.mode, "--mutants") == 0) {
        return run_mutants(&o);
    }
    for (unsigned m = 1; o.only != NULL && o.world->mutants != NULL && o.world->mutants[m] != NULL;
         m++) {
        if (strcmp(o.only, o.world->mutants[m]) == 0) {
            o.world->mutant_set(m);
        }
    }
    if (strcmp(o.mode, "--scenarios") == 0) {
        return o.world->scenarios == NULL || o.world->scenarios() == 0 ? 0 : 1;
    }
    if (strcmp(o.mode, "--tape") == 0) {
        return run_one_tape(&o);
    }
    if (strcmp(o.mode, "--bytes") == 0) {
        return run_bytes(&o);
    }
    if (strcmp(o.mode, "--shrink") == 0) {
        return run_shrink(&o);
    }
    if (strcmp(o.mode, "--odometer") == 0) {
        return run_odometer(&o);
    }
    if (strcmp(o.mode, "--seed") == 0) {
        struct total t = {0};
        return run_seed(&o, o.from, &t, false) ? 0 : 1;
    }
    if (strcmp(o.mode, "--bench") == 0) {
        o.from = 1;
        o.to = 300;
        if (o.world->bench != NULL) {
            o.world->bench();
        }
    }
    if (o.seconds != 0 && o.all_worlds) {
        size_t count = sizeof worlds / sizeof worlds[0];
        int rc = 0;
        o.seconds /= count;
        for (size_t w = 0; w < count; w++) {
            o.world = worlds[w];
            rc |= run_seeds(&o);
        }
        return rc;
    }
    return run_seeds(&o);
}
