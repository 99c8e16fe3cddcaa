#include "backends/server/slowlog.h"

#include <stdio.h>
#include <string.h>

#include "common/mem.h"

/* One block: the entry, its argument spans, then all bytes. */
static struct slow_entry *alloc_entry(int argc, size_t bytes, char **text)
{
    size_t head = sizeof(struct slow_entry) + (size_t)argc * sizeof(struct span);
    struct slow_entry *e = mem_zalloc(head + bytes);
    e->args = (struct span *)(e + 1);
    e->argc = argc;
    *text = (char *)e + head;
    return e;
}

static struct span copy_to(char **text, struct span s)
{
    struct span copy = span_of(*text, s.len);
    if (s.len != 0) {
        memcpy(*text, s.p, s.len);
    }
    *text += s.len;
    return copy;
}

static struct span shorten(struct span s, char **text)
{
    if (s.len <= SLOWLOG_ARG_BYTES) {
        return copy_to(text, s);
    }
    char *start = *text;
    (void)copy_to(text, span_of(s.p, SLOWLOG_ARG_BYTES));
    int n = snprintf(*text, 40, "... (%zu more bytes)", s.len - SLOWLOG_ARG_BYTES);
    *text += n;
    return span_of(start, SLOWLOG_ARG_BYTES + (size_t)n);
}

struct slow_entry *slow_entry_new(const struct span *argv, int kept, int argc, struct span peer,
                                  struct span name)
{
    bool cut = argc > SLOWLOG_ARGS_MAX || kept < argc;
    int shown = kept < SLOWLOG_ARGS_MAX ? kept : SLOWLOG_ARGS_MAX;
    if (cut && shown == SLOWLOG_ARGS_MAX) {
        shown--;
    }
    int n = cut ? shown + 1 : shown;
    char *text;
    size_t room = (size_t)n * (SLOWLOG_ARG_BYTES + 48) + peer.len + name.len;
    struct slow_entry *e = alloc_entry(n, room, &text);
    for (int i = 0; i < shown; i++) {
        e->args[i] = shorten(argv[i], &text);
    }
    if (cut) {
        char *start = text;
        int len = snprintf(text, 48, "... (%d more arguments)", argc - shown);
        text += len;
        e->args[shown] = span_of(start, (size_t)len);
    }
    e->peer = copy_to(&text, peer);
    e->name = copy_to(&text, name);
    return e;
}

struct slow_entry *slow_entry_copy(const struct slow_entry *from)
{
    size_t bytes = from->peer.len + from->name.len;
    for (int i = 0; i < from->argc; i++) {
        bytes += from->args[i].len;
    }
    char *text;
    struct slow_entry *e = alloc_entry(from->argc, bytes, &text);
    for (int i = 0; i < from->argc; i++) {
        e->args[i] = copy_to(&text, from->args[i]);
    }
    e->id = from->id;
    e->when_s = from->when_s;
    e->us = from->us;
    e->peer = copy_to(&text, from->peer);
    e->name = copy_to(&text, from->name);
    return e;
}

void slow_entry_free(struct slow_entry *e)
{
    mem_free(e);
}

void slow_entry_reply(const struct slow_entry *e, struct resp_out *out)
{
    resp_array(out, 6);
    resp_int(out, (int64_t)e->id);
    resp_int(out, (int64_t)e->when_s);
    resp_int(out, (int64_t)e->us);
    resp_array(out, (size_t)e->argc);
    for (int i = 0; i < e->argc; i++) {
        resp_bulk_span(out, e->args[i]);
    }
    resp_bulk_span(out, e->peer);
    resp_bulk_span(out, e->name);
}

void slowlog_add(struct slowlog *l, struct slow_entry *e, uint32_t max)
{
    e->next = l->newest;
    l->newest = e;
    l->count++;
    slowlog_trim(l, max);
}

void slowlog_trim(struct slowlog *l, uint32_t max)
{
    if (l->count <= max) {
        return;
    }
    struct slow_entry **link = &l->newest;
    for (uint32_t i = 0; i < max; i++) {
        link = &(*link)->next;
    }
    while (*link != NULL) {
        struct slow_entry *e = *link;
        *link = e->next;
        slow_entry_free(e);
        l->count--;
    }
}
