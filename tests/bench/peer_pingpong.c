/* Benchmark of the peer transport: two members in two threads of one process bounce messages.
 *
 *   peer_pingpong [tcp|rdma] [HOST] [seconds per line]
 *
 * One line per setting: `depth` messages are under way at a time; each answer sends the next one.
 * Depth 1 shows latency, more shows what coalescing is worth: "one by one" makes one write or send
 * per message. CPU is that of the whole process (both ends) per message (one way). Verbs figures
 * mean something only on real devices: Soft-RoCE and soft-iWARP do in software, and in the kernel,
 * what a device does. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "rdma/transport.h"

#define SAMPLES_MAX 200000u
#define MESSAGE_BYTES 64u

struct end {
    struct transport *t;
    struct loop *loop;
    uint32_t peer;
    unsigned depth;
    bool echo;
    bool up;
    uint64_t answers;
    uint32_t *samples; /* round trips, ns */
    uint32_t sample_count;
};

static void send_one(struct end *e)
{
    unsigned char bytes[MESSAGE_BYTES] = {0};
    uint64_t now = clk_mono_ns();
    memcpy(bytes, &now, sizeof now);
    if (transport_send(e->t, e->peer, 0, bytes, sizeof bytes) != OK) {
        fprintf(stderr, "peer_pingpong: cannot send\n");
        exit(1);
    }
}

static void on_connected(void *arg, uint32_t peer, uint64_t conn, uint64_t epoch)
{
    (void)peer;
    (void)conn;
    (void)epoch;
    struct end *e = arg;
    e->up = true;
    if (!e->echo) {
        for (unsigned i = 0; i < e->depth; i++) {
            send_one(e);
        }
    }
}

static void on_message(void *arg, uint32_t peer, const void *bytes, size_t len)
{
    struct end *e = arg;
    if (e->echo) {
        if (transport_send(e->t, peer, 0, bytes, len) != OK) {
            exit(1);
        }
        return;
    }
    uint64_t sent = 0;
    memcpy(&sent, bytes, sizeof sent);
    if (e->sample_count < SAMPLES_MAX) {
        e->samples[e->sample_count++] = (uint32_t)(clk_mono_ns() - sent);
    }
    e->answers++;
    send_one(e);
}

static void on_disconnected(void *arg, uint32_t peer, uint64_t conn, const char *reason)
{
    (void)arg;
    (void)peer;
    (void)conn;
    fprintf(stderr, "peer_pingpong: connection lost: %s\n", reason);
    exit(1);
}

static const struct transport_events events = {on_connected, on_message, on_disconnected, NULL};

static void open_end(struct end *e, enum transport_kind kind, const char *host, uint32_t id,
                     bool one_by_one)
{
    e->loop = loop_new();
    struct transport_options o = {.kind = kind,
                                  .loop = e->loop,
                                  .self = {.cluster = "bench", .group = "g", .member = id},
                                  .host = host,
                                  .events = &events,
                                  .arg = e,
                                  .no_coalescing = one_by_one};
    struct errmsg why = {""};
    if (transport_new(&o, &e->t, &why) != OK) {
        fprintf(stderr, "peer_pingpong: %s\n", why.text);
        exit(2);
    }
}

static void meet(struct end *e, const char *host, uint32_t id, uint16_t port)
{
    struct transport_peer p = {.member = id, .host = host, .port = port};
    e->peer = id;
    if (transport_add_peer(e->t, &p) != OK) {
        exit(2);
    }
}

static void stop(void *arg)
{
    loop_stop(arg);
}

static void *run_echo(void *arg)
{
    loop_run(((struct end *)arg)->loop);
    return NULL;
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void measure(enum transport_kind kind, const char *host, bool one_by_one, unsigned depth,
                    double seconds)
{
    struct end ping = {.depth = depth, .samples = mem_alloc(SAMPLES_MAX * sizeof(uint32_t))};
    struct end pong = {.echo = true};
    open_end(&ping, kind, host, 1, one_by_one);
    open_end(&pong, kind, host, 2, one_by_one);
    meet(&ping, host, 2, transport_port(pong.t));
    meet(&pong, host, 1, transport_port(ping.t));
    pthread_t thread;
    if (pthread_create(&thread, NULL, run_echo, &pong) != 0) {
        exit(2);
    }
    struct loop_timer *timer = loop_timer_new(ping.loop, stop, ping.loop);
    loop_timer_start(timer, (uint64_t)(seconds * 1e6));
    double cpu = cpu_seconds();
    uint64_t start = clk_mono_ns();
    loop_run(ping.loop);
    double wall = (double)(clk_mono_ns() - start) / 1e9;
    cpu = cpu_seconds() - cpu;
    loop_stop(pong.loop);
    pthread_join(thread, NULL);

    struct transport_stats s = {0};
    if (transport_stats(ping.t, 0, &s) != OK || ping.answers == 0) {
        fprintf(stderr, "peer_pingpong: no answers\n");
        exit(1);
    }
    qsort(ping.samples, ping.sample_count, sizeof ping.samples[0], compare);
    double messages = 2.0 * (double)ping.answers;
    printf("%-4s %-10s depth %4u: %9.0f messages/s  round trip p50 %7.1f us p99 %7.1f us  CPU "
           "%6.0f ns/message  "
           "%.3f sends/message\n",
           transport_kind_name(kind), one_by_one ? "one by one" : "coalesced", depth,
           messages / wall, ping.samples[ping.sample_count / 2] / 1e3,
           ping.samples[(uint64_t)ping.sample_count * 99 / 100] / 1e3, cpu / messages * 1e9,
           (double)s.sends / (double)s.messages_out);
    loop_timer_free(timer);
    transport_free(ping.t);
    transport_free(pong.t);
    loop_free(ping.loop);
    loop_free(pong.loop);
    mem_free(ping.samples);
}

int main(int argc, char **argv)
{
    enum transport_kind kind = TRANSPORT_TCP;
    if (argc > 1 && (!transport_kind_parse(span_str(argv[1]), &kind) || kind == TRANSPORT_AUTO)) {
        fprintf(stderr, "usage: %s [tcp|rdma] [HOST] [seconds per line]\n", argv[0]);
        return 2;
    }
    const char *host = argc > 2 ? argv[2] : "127.0.0.1";
    double seconds = argc > 3 ? strtod(argv[3], NULL) : 0.5;
    static const unsigned depths[] = {1, 16, 256};
    for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++) {
        measure(kind, host, true, depths[i], seconds);
        measure(kind, host, false, depths[i], seconds);
    }
    return 0;
}
