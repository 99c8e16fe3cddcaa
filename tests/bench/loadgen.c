/* loadgen: the same load on replicated servers of any kind, where redis-benchmark cannot say it: a
 * mix of GET and SET, spread over several ports, and WAIT after writes. One thread, closed loop:
 * each connection writes a batch of commands, waits for all answers, and goes on.
 *
 *   --ports P,...        on 127.0.0.1; connections are spread over them
 *   --connections N (50) --pipeline N (1)     --gets PERCENT (0)    --requests N (100000)
 *   --keys N (100000)    --size BYTES (32)    --seed N (1)
 *   --zipf HUNDREDTHS    key n is asked for in proportion to 1 / (n + 1) ^ (HUNDREDTHS / 100); 0
 * (the default): all alike
 *   --wait R             WAIT R 0 after each write; it is acknowledged when that is answered
 *   --wait-last 1        with --wait: one WAIT per batch, behind its last write
 *
 * Prints one line of JSON; latencies (ms) are from writing the batch to the answer that
 * acknowledges the command. Exit status 1 after any error reply. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/mem.h"

#define PORTS_MAX 16u
#define CONNECTIONS_MAX 1000u
#define PIPELINE_MAX 1024u
#define EVENTS 64
#define BUCKETS 2048u /* 32 per power of two of nanoseconds */

struct options {
    uint16_t ports[PORTS_MAX];
    uint64_t port_count, connections, pipeline, gets, requests, keys, size, seed, zipf, wait,
        wait_last;
};

struct histogram {
    uint64_t count, bucket[BUCKETS];
};

enum answer_kind { A_READ, A_WRITE, A_WAITED, A_WAIT };
struct expected { /* one reply to come */
    uint8_t kind;
    uint16_t covers; /* A_WAIT: so many writes */
};

struct connection {
    int fd;
    struct buf in, out;
    struct expected expect[2 * PIPELINE_MAX];
    uint32_t expect_count, answered;
    uint64_t start_ns;
    bool writing;
};

/* A key is asked for itself in `own` of 2^32 cases, else another is. */
struct alias {
    uint32_t own, other;
};

struct load {
    struct options with;
    struct connection *c;
    int epoll;
    uint64_t rng, issued, done, reads, writes, errors, short_waits;
    char first_error[128];
    char *value;
    struct histogram read, write;
    struct alias *alias; /* of each key; NULL: all alike */
};

static void die(const char *what)
{
    fprintf(stderr, "loadgen: %s: %m\n", what);
    _exit(2);
}

/* ---- latencies ---- */

static void count_latency(struct histogram *h, uint64_t ns)
{
    uint64_t v = ns < 32 ? 32 : ns;
    unsigned power = 63u - (unsigned)__builtin_clzll(v);
    unsigned at = (power - 5) * 32 + (unsigned)(v >> (power - 5) & 31);
    h->bucket[at < BUCKETS ? at : BUCKETS - 1]++;
    h->count++;
}

/* Upper end of the bucket, ms. */
static double quantile(const struct histogram *h, double q)
{
    uint64_t left = (uint64_t)((double)h->count * q);
    for (unsigned i = 0; i < BUCKETS; i++) {
        if (h->bucket[i] > left) {
            return (double)((uint64_t)(33 + i % 32) << (i / 32)) / 1e6;
        }
        left -= h->bucket[i];
    }
    return 0;
}

/* ---- requests ---- */

static uint64_t roll(struct load *l, uint64_t n)
{
    l->rng ^= l->rng >> 12;
    l->rng ^= l->rng << 25;
    l->rng ^= l->rng >> 27;
    return (l->rng * UINT64_C(0x2545F4914F6CDD1D) >> 33) % n;
}

/* Vose's alias method: a Zipf sample in two memory accesses. */
static void zipf_build(struct load *l)
{
    uint32_t n = (uint32_t)l->with.keys;
    double *share = mem_alloc(n * sizeof *share);
    uint32_t *small = mem_alloc(n * sizeof *small);
    uint32_t *large = mem_alloc(n * sizeof *large);
    uint32_t small_count = 0;
    uint32_t large_count = 0;
    double sum = 0;
    l->alias = mem_zalloc(n * sizeof *l->alias);
    for (uint32_t i = 0; i < n; i++) {
        share[i] = pow((double)i + 1, -(double)l->with.zipf / 100);
        sum += share[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        share[i] *= n / sum;
        l->alias[i] = (struct alias){UINT32_MAX, i};
        *(share[i] < 1 ? &small[small_count++] : &large[large_count++]) = i;
    }
    while (small_count > 0 && large_count > 0) {
        uint32_t s = small[--small_count];
        uint32_t g = large[large_count - 1];
        l->alias[s] = (struct alias){(uint32_t)(share[s] * UINT32_MAX), g};
        share[g] -= 1 - share[s];
        if (share[g] < 1) {
            large_count--;
            small[small_count++] = g;
        }
    }
    mem_free(share);
    mem_free(small);
    mem_free(large);
}

static uint64_t pick_key(struct load *l)
{
    uint64_t n = roll(l, l->with.keys);
    if (l->alias == NULL || roll(l, UINT32_MAX) < l->alias[n].own) {
        return n;
    }
    return l->alias[n].other;
}

static void add_wait(struct load *l, struct connection *c, unsigned covers)
{
    char count[24];
    int n = snprintf(count, sizeof count, "%" PRIu64, l->with.wait);
    buf_addf(&c->out, "*3\r\n$4\r\nWAIT\r\n$%d\r\n%s\r\n$1\r\n0\r\n", n, count);
    c->expect[c->expect_count++] = (struct expected){A_WAIT, (uint16_t)covers};
}

static void next_batch(struct load *l, struct connection *c)
{
    unsigned uncovered = 0;
    c->expect_count = 0;
    c->answered = 0;
    for (uint64_t i = 0; i < l->with.pipeline && l->issued < l->with.requests; i++) {
        char key[32];
        int key_len = snprintf(key, sizeof key, "key:%012" PRIu64, pick_key(l));
        l->issued++;
        if (roll(l, 100) < l->with.gets) {
            buf_addf(&c->out, "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", key_len, key);
            c->expect[c->expect_count++] = (struct expected){A_READ, 0};
            continue;
        }
        buf_addf(&c->out, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%" PRIu64 "\r\n%s\r\n", key_len, key,
                 l->with.size, l->value);
        c->expect[c->expect_count++] = (struct expected){l->with.wait != 0 ? A_WAITED : A_WRITE, 0};
        uncovered++;
        if (l->with.wait != 0 && l->with.wait_last == 0) {
            add_wait(l, c, 1);
            uncovered = 0;
        }
    }
    if (l->with.wait != 0 && uncovered != 0) {
        add_wait(l, c, uncovered);
    }
    c->start_ns = clk_mono_ns();
}

/* ---- answers ---- */

/* Bytes of the reply at the head, 0: not all there. Strings, numbers and statuses only. */
static size_t reply_length(const char *p, size_t len)
{
    const char *end = len > 0 ? memchr(p, '\n', len) : NULL;
    if (end == NULL) {
        return 0;
    }
    size_t line = (size_t)(end - p) + 1;
    if (*p != '$') {
        return line;
    }
    long bulk = strtol(p + 1, NULL, 10);
    size_t whole = bulk < 0 ? line : line + (size_t)bulk + 2;
    return whole <= len ? whole : 0;
}

static void take_answer(struct load *l, struct connection *c, const char *p, size_t len,
                        uint64_t now_ns)
{
    const struct expected *e = &c->expect[c->answered++];
    uint64_t ns = now_ns - c->start_ns;
    if (*p == '-') {
        if (l->errors++ == 0) {
            snprintf(l->first_error, sizeof l->first_error, "%.*s", (int)(len > 2 ? len - 2 : 0),
                     p);
        }
    }
    switch ((enum answer_kind)e->kind) {
    case A_READ:
        l->reads++;
        l->done++;
        count_latency(&l->read, ns);
        return;
    case A_WRITE:
        l->writes++;
        l->done++;
        count_latency(&l->write, ns);
        return;
    case A_WAITED:
        return; /* counts when its WAIT is answered */
    case A_WAIT:
        l->short_waits += *p != ':' || strtoull(p + 1, NULL, 10) < l->with.wait;
        for (unsigned i = 0; i < e->covers; i++) {
            count_latency(&l->write, ns);
        }
        l->writes += e->covers;
        l->done += e->covers;
        return;
    }
}

static void set_events(struct load *l, struct connection *c, bool writing)
{
    struct epoll_event ev = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = c};
    if (writing != c->writing && epoll_ctl(l->epoll, EPOLL_CTL_MOD, c->fd, &ev) != 0) {
        die("epoll_ctl");
    }
    c->writing = writing;
}

static void push(struct load *l, struct connection *c)
{
    while (buf_used(&c->out) > 0) {
        ssize_t n = write(c->fd, buf_head(&c->out), buf_used(&c->out));
        if (n < 0 && errno == EAGAIN) {
            break;
        }
        if (n < 0 && errno != EINTR) {
            die("write");
        }
        buf_consume(&c->out, n > 0 ? (size_t)n : 0);
    }
    set_events(l, c, buf_used(&c->out) > 0);
}

static void pull(struct load *l, struct connection *c)
{
    char *room = buf_reserve(&c->in, 65536);
    ssize_t n = read(c->fd, room, 65536);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        die("a server closed the connection");
    }
    buf_commit(&c->in, n > 0 ? (size_t)n : 0);
    uint64_t now_ns = clk_mono_ns();
    size_t used = 0;
    while (c->answered < c->expect_count) {
        const char *p = buf_head(&c->in) + used;
        size_t one = reply_length(p, buf_used(&c->in) - used);
        if (one == 0) {
            break;
        }
        take_answer(l, c, p, one, now_ns);
        used += one;
    }
    buf_consume(&c->in, used);
    if (c->answered == c->expect_count && l->issued < l->with.requests) {
        next_batch(l, c);
        push(l, c);
    }
}

static void open_connection(struct load *l, unsigned i)
{
    struct connection *c = &l->c[i];
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(l->with.ports[i % l->with.port_count]),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int yes = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&to, sizeof to) != 0) {
        die("connect");
    }
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
    if (setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) != 0 ||
        epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &ev) != 0) {
        die("socket");
    }
}

static double run(struct load *l)
{
    uint64_t start = clk_mono_ns();
    for (unsigned i = 0; i < l->with.connections && l->issued < l->with.requests; i++) {
        next_batch(l, &l->c[i]);
        push(l, &l->c[i]);
    }
    while (l->done < l->with.requests) {
        struct epoll_event ev[EVENTS];
        int n = epoll_wait(l->epoll, ev, EVENTS, 30000);
        if (n == 0) {
            fprintf(stderr, "loadgen: no answer for 30 s\n");
            _exit(2);
        }
        for (int i = 0; i < n; i++) {
            if ((ev[i].events & EPOLLOUT) != 0) {
                push(l, ev[i].data.ptr);
            }
            if ((ev[i].events & ~(uint32_t)EPOLLOUT) != 0) {
                pull(l, ev[i].data.ptr);
            }
        }
    }
    return (double)(clk_mono_ns() - start) / 1e9;
}

/* ---- options ---- */

static bool take_ports(struct options *o, const char *text)
{
    for (o->port_count = 0; o->port_count < PORTS_MAX;) {
        char *end = NULL;
        unsigned long p = strtoul(text, &end, 10);
        if (end == text || p < 1 || p > 65535 || (*end != ',' && *end != '\0')) {
            return false;
        }
        o->ports[o->port_count++] = (uint16_t)p;
        if (*end == '\0') {
            return true;
        }
        text = end + 1;
    }
    return false;
}

static bool take_option(struct options *o, const char *name, const char *value)
{
    struct {
        const char *name;
        uint64_t *to;
        uint64_t min, max;
    } numbers[] = {{"--connections", &o->connections, 1, CONNECTIONS_MAX},
                   {"--pipeline", &o->pipeline, 1, PIPELINE_MAX},
                   {"--gets", &o->gets, 0, 100},
                   {"--requests", &o->requests, 1, 1000000000},
                   {"--keys", &o->keys, 1, 1000000000},
                   {"--size", &o->size, 1, 1000000},
                   {"--seed", &o->seed, 1, UINT64_MAX},
                   {"--zipf", &o->zipf, 0, 300},
                   {"--wait", &o->wait, 0, 16},
                   {"--wait-last", &o->wait_last, 0, 1}};
    if (strcmp(name, "--ports") == 0) {
        return take_ports(o, value);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strcmp(name, numbers[i].name) == 0) {
            char *end = NULL;
            *numbers[i].to = strtoull(value, &end, 10);
            return *value != '\0' && *end == '\0' && *numbers[i].to >= numbers[i].min &&
                   *numbers[i].to <= numbers[i].max;
        }
    }
    return false;
}

int main(int argc, char **argv)
{
    static struct load l = {.with = {.connections = 50,
                                     .pipeline = 1,
                                     .requests = 100000,
                                     .keys = 100000,
                                     .size = 32,
                                     .seed = 1}};
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc || !take_option(&l.with, argv[i], argv[i + 1])) {
            fprintf(stderr, "loadgen: bad option or value: %s\n", argv[i]);
            return 2;
        }
    }
    if (l.with.port_count == 0) {
        fprintf(stderr, "loadgen: --ports is needed\n");
        return 2;
    }
    l.rng = l.with.seed * UINT64_C(0x9E3779B97F4A7C15);
    l.value = mem_alloc(l.with.size + 1);
    memset(l.value, 'x', l.with.size);
    l.value[l.with.size] = '\0';
    struct connection *all = mem_zalloc(l.with.connections * sizeof *all);
    l.c = all;
    if (l.with.zipf != 0) {
        zipf_build(&l);
    }
    l.epoll = epoll_create1(0);
    for (unsigned i = 0; i < l.with.connections; i++) {
        open_connection(&l, i);
    }
    double seconds = run(&l);
    printf("{\"requests\":%" PRIu64 ",\"rps\":%.1f,\"reads\":%" PRIu64 ",\"writes\":%" PRIu64
           ",\"read_p50\":%.4f,\"read_p99\":%.4f,\"write_p50\":%.4f,\"write_p99\":%.4f,"
           "\"errors\":%" PRIu64 ",\"short_waits\":%" PRIu64 "}\n",
           l.done, (double)l.done / seconds, l.reads, l.writes, quantile(&l.read, 0.5),
           quantile(&l.read, 0.99), quantile(&l.write, 0.5), quantile(&l.write, 0.99), l.errors,
           l.short_waits);
    if (l.errors + l.short_waits != 0) {
        fprintf(stderr, "loadgen: %s\n",
                l.errors != 0 ? l.first_error : "a WAIT was not answered by enough replicas");
    }
    for (unsigned i = 0; i < l.with.connections; i++) {
        close(all[i].fd);
        buf_free(&all[i].in);
        buf_free(&all[i].out);
    }
    mem_free(all);
    mem_free(l.value);
    mem_free(l.alias);
    return l.errors + l.short_waits != 0 ? 1 : 0;
}
