/* Accessors of entries, the access clock, and what an entry weighs. */
#include "backends/store/store_private.h"

#include "backends/types/object.h"
#include "common/mem.h"
#include "common/must.h"

struct span entry_key(const struct entry *e)
{
    return ent_key(e);
}

enum val_type entry_type(const struct entry *e)
{
    return ent_type(e);
}

struct span entry_string(const struct entry *e)
{
    must(ent_type(e) == VAL_STRING);
    if ((e->flags & ENT_OUT) != 0) {
        const struct big *b = ent_out(e);
        return span_of(b->bytes, b->len);
    }
    struct span key = ent_key(e);
    return span_of(key.p + key.len, e->vlen);
}

enum str_enc entry_enc(const struct entry *e)
{
    return (enum str_enc)((e->kind >> 3) & 3u);
}

void entry_set_enc(struct entry *e, enum str_enc enc)
{
    e->kind = (uint8_t)((e->kind & ~0x18u) | (unsigned)enc << 3);
}

void *entry_object(const struct entry *e)
{
    must(entry_has_object(e));
    return ent_out(e);
}

void entry_set_object(struct entry *e, void *object)
{
    must(entry_has_object(e));
    ent_set_out(e, object);
}

uint64_t entry_expire_ms(const struct entry *e)
{
    return ent_expire(e);
}

uint64_t entry_ts(const struct entry *e)
{
    return e->ts;
}

void entry_set_ts(struct entry *e, uint64_t ts)
{
    e->ts = ts;
}

uint8_t entry_state(const struct entry *e)
{
    return (uint8_t)(e->access_state >> 24);
}

void entry_set_state(struct entry *e, uint8_t state)
{
    e->access_state = (e->access_state & 0xFFFFFFu) | (uint32_t)state << 24;
}

bool entry_hot(const struct entry *e)
{
    return (e->flags & ENT_HOT) != 0;
}

uint64_t entry_generation(const struct entry *e)
{
    return (e->flags & ENT_GEN) != 0 ? ent_field_u64(e, ENT_GEN) : 0;
}

#define TABLE_BYTES_PER_KEY 12u /* a slot, its tag, its share of heads and empty slots */

size_t entry_memory(const struct store *s, const struct entry *e, size_t samples)
{
    (void)s;
    size_t bytes = mem_usable(e) + TABLE_BYTES_PER_KEY;
    if (entry_has_object(e)) {
        return bytes + object_ops(ent_type(e))->memory(ent_out(e), samples);
    }
    return bytes + ((e->flags & ENT_OUT) != 0 ? mem_usable(ent_out(e)) : 0);
}

/* ---- access clock: 24 bits. LRU: seconds. LFU: minutes of the last decay (16), logarithmic
 * counter (8), as Redis. ---- */

#define CLOCK_MASK 0xFFFFFFu
#define LFU_START 5u

void store_saw_time(struct store *s, uint64_t now_ms)
{
    if (now_ms > s->seen_ms) {
        s->seen_ms = now_ms;
    }
}

static uint32_t lru_clock(uint64_t now_ms)
{
    return (uint32_t)(now_ms / 1000u) & CLOCK_MASK;
}

static uint32_t lfu_minutes(uint64_t now_ms)
{
    return (uint32_t)(now_ms / 60000u) & 0xFFFFu;
}

uint32_t access_initial(const struct store *s)
{
    return s->options.lfu ? lfu_minutes(s->seen_ms) << 8 | LFU_START : lru_clock(s->seen_ms);
}

uint8_t entry_freq(const struct store *s, const struct entry *e, uint64_t now_ms)
{
    uint32_t access = ent_access(e);
    uint32_t counter = access & 0xFFu;
    uint32_t elapsed = (lfu_minutes(now_ms) - (access >> 8)) & 0xFFFFu;
    uint32_t periods =
        s->options.lfu_decay_minutes == 0 ? 0 : elapsed / s->options.lfu_decay_minutes;
    return (uint8_t)(periods > counter ? 0 : counter - periods);
}

static uint32_t lfu_increment(struct store *s, uint32_t counter)
{
    if (counter == 255) {
        return counter;
    }
    uint32_t above = counter > LFU_START ? counter - LFU_START : 0;
    uint64_t odds = (uint64_t)above * s->options.lfu_log_factor + 1;
    return store_random_u64(&s->rng) % odds == 0 ? counter + 1 : counter;
}

void entry_touch(struct store *s, struct entry *e, uint64_t now_ms)
{
    store_saw_time(s, now_ms);
    if (!s->options.lfu) {
        uint32_t clock = lru_clock(now_ms);
        if (ent_access(e) != clock) {
            ent_set_access(e, clock);
        }
        return;
    }
    uint32_t counter = lfu_increment(s, entry_freq(s, e, now_ms));
    ent_set_access(e, lfu_minutes(now_ms) << 8 | counter);
}

uint64_t entry_idle_seconds(const struct store *s, const struct entry *e, uint64_t now_ms)
{
    (void)s;
    return (lru_clock(now_ms) - ent_access(e)) & CLOCK_MASK;
}

void entry_set_access(struct store *s, struct entry *e, int64_t idle_seconds, int freq,
                      uint64_t now_ms)
{
    if (s->options.lfu) {
        if (freq >= 0) {
            ent_set_access(e, lfu_minutes(now_ms) << 8 | (uint32_t)(freq > 255 ? 255 : freq));
        }
    } else if (idle_seconds >= 0) {
        ent_set_access(e, (lru_clock(now_ms) - (uint32_t)idle_seconds) & CLOCK_MASK);
    }
}
