/* One of two processes, on one machine or on two, that stream numbered messages of mixed sizes to
 * each other and check every one (order, loss, duplicates, bytes): transport-pair tcp|rdma OWN_ID
 * OWN_HOST OWN_PORT PEER_ID PEER_HOST PEER_PORT MESSAGES [SECONDS] Prints the counters; exit code 0
 * if every message came, over one connection. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "tests/lib/transport_node.h"

struct run {
    struct node n;
    uint64_t total;
    uint64_t seen, seen_ns; /* messages received, and since when it is that many */
};

/* Message `total` says that everything of the other side was received. */
static bool stream(void *arg)
{
    struct run *r = arg;
    struct node *n = &r->n;
    if (n->received != r->seen) {
        r->seen = n->received;
        r->seen_ns = clk_mono_ns();
    }
    if (!transport_is_connected(n->t, n->peer)) {
        return n->disconnected != 0;
    }
    uint64_t limit = n->received >= r->total ? r->total + 1 : r->total;
    for (int i = 0; i < 256 && n->sent < limit && node_send(n) == OK; i++) {
    }
    return n->bad != 0 || (n->received == r->total + 1 && n->sent == r->total + 1);
}

static void print_counters(const struct run *r, uint64_t ns)
{
    struct transport_stats s;
    if (transport_stats(r->n.t, 0, &s) != OK) {
        return;
    }
    char where[160];
    transport_describe(r->n.t, where, sizeof where);
    printf("%s: %llu messages, %llu bytes received in %llu ms\n", where,
           (unsigned long long)r->n.received, (unsigned long long)r->n.received_bytes,
           (unsigned long long)(ns / 1000000u));
#define X(name, what) printf("  %-16s %llu\n", #name, (unsigned long long)s.name);
    TRANSPORT_COUNTERS(X)
#undef X
    printf("  %-16s %llu\n", "registered_bytes", (unsigned long long)s.registered_bytes);
}

int main(int argc, char **argv)
{
    enum transport_kind kind = TRANSPORT_AUTO;
    if (argc < 9 || !transport_kind_parse(span_str(argv[1]), &kind) || kind == TRANSPORT_AUTO) {
        fprintf(stderr,
                "usage: %s tcp|rdma ID HOST PORT PEER_ID PEER_HOST PEER_PORT MESSAGES [SECONDS]\n",
                argv[0]);
        return 2;
    }
    struct suite_env own = {.name = "pair", .kind = kind, .host = argv[3]};
    struct suite_env peer = {.host = argv[6]};
    struct run r = {.total = strtoull(argv[8], NULL, 10)};
    unsigned seconds = argc > 9 ? (unsigned)strtoul(argv[9], NULL, 10) : 60;
    struct node_spec spec = {.env = &own,
                             .loop = loop_new(),
                             .id = (uint32_t)strtoul(argv[2], NULL, 10),
                             .peer = (uint32_t)strtoul(argv[5], NULL, 10),
                             .port = (uint16_t)strtoul(argv[4], NULL, 10),
                             .with = {.queue_max = 1u << 20}};
    node_open(&r.n, &spec);
    node_meet(&r.n, &(struct node_spec){.env = &peer}, spec.peer,
              (uint16_t)strtoul(argv[7], NULL, 10));

    unsigned loss_ms = argc > 10 ? (unsigned)strtoul(argv[10], NULL, 10) : 0;
    uint64_t start = clk_mono_ns();
    bool met = run_until(spec.loop, stream, &r, seconds * 1000u);
    uint64_t ns = clk_mono_ns() - start;
    print_counters(&r, ns);
    bool good = met && r.n.bad == 0 && r.n.received == r.total + 1 && r.n.connected == 1;
    if (loss_ms != 0) {
        uint64_t silence_ms = (clk_mono_ns() - r.seen_ns) / 1000000u;
        printf("lost %llu ms after the last message\n", (unsigned long long)silence_ms);
        good = met && r.n.bad == 0 && r.n.disconnected == 1 && r.seen != 0 && silence_ms <= loss_ms;
    }
    printf("transport-pair %u: %s (received %llu of %llu, bad %llu, connections %u)\n", spec.id,
           good ? "good" : "BAD", (unsigned long long)r.n.received, (unsigned long long)r.total + 1,
           (unsigned long long)r.n.bad, r.n.connected);
    run_for(spec.loop, 300); /* our last message may still be in the queue */
    node_close(&r.n);
    loop_free(spec.loop);
    return good ? 0 : 1;
}
