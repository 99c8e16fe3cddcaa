# A hot key kept coherent over rxe: one proxy on each of two machines, the nodes of the shard on the first one. The proxies' views and
# leases are injected, so no clock of this slow machine decides anything. What is written at one proxy must be read at the other
# one at once, counters lose nothing, and a recorded history of clients of both is linearizable, while the key is hot; the
# counters must show that invalidations went over verbs.
dir=/tmp/hot
port=6379 peer_port=8100
mkdir -p $dir

fail() {
    echo "20-hot: $*"
    for log in $dir/*/log $dir/*/out; do [ -s "$log" ] && { echo "-- $log"; tail -n 8 "$log"; }; done
    touch /tmp/hot-failed
    exit 1
}
end_all() {
    for pid in $pids; do kill -9 "$pid" 2>/dev/null; done
    wait 2>/dev/null
}
trap end_all EXIT
here() { timeout 10 redis-cli -h "$HOST" -p $port "$@" 2>/dev/null; }
there() { timeout 10 redis-cli -h "$OTHER" -p $port "$@" 2>/dev/null; }
info() { here INFO hotcache | tr -d '\r' | sed -n "s/^$1://p"; }
soon() { # what command...: within 60 s
    local what=$1 i
    shift
    for i in $(seq 1 300); do
        "$@" && return 0
        sleep 0.2
    done
    fail "$what: not within 60 s"
}

# ---- two nodes on the first machine, a proxy on each ----
nodes=10.9.1.1
{
    echo "node-workers 1"
    echo "workers 1"
    echo "protected-mode no"
    echo "shard shard-0 auto $nodes:7001 $nodes:7002"
} >$dir/cluster.conf
pids=""
if [ $ID = 1 ]; then
    for r in 1 2; do
        mkdir -p $dir/node-$r
        halcyon-node $dir/cluster.conf --bind $HOST --port 700$r --dir $dir/node-$r --logfile $dir/node-$r/log --membership static \
            >$dir/node-$r/out 2>&1 &
        pids="$pids $!"
    done
fi
mkdir -p $dir/proxy
halcyon-proxy $dir/cluster.conf --bind $HOST --port $port --dir $dir/proxy --logfile $dir/proxy/log --membership injected \
    --transport rdma --rdma-device rxe0 --peer-port $peer_port --hot-cool 1 --backend-timeout 20000 >$dir/proxy/out 2>&1 &
pids="$pids $!"
answers() { [ "$(here SET up:$ID yes)" = OK ]; }
soon "the proxy answers" answers

# ---- one view of both proxies ----
read -r uptime _ </proc/uptime
until=$(((${uptime%.*} + 3600) * 1000000000))
[ "$(here HALCYON VIEW 1 SELF $ID MEMBERS 1@10.9.1.1:$peer_port 2@10.9.1.2:$peer_port)" = OK ] || fail "the view is refused"
[ "$(here HALCYON LEASE 1 $until)" = OK ] || fail "the lease is refused"
serves() { info hotcache_worker | grep -q "state=serving" && [ "$(info peer_connected)" = 1 ]; }
soon "the proxies are connected" serves
[ "$(info peer_transport)" = rdma ] || fail "the proxies do not use RDMA: $(info peer_address)"

# ---- hot at both ----
is_hot() { # key: the next read is answered by the cache
    local before=$(info hotcache_hits)
    here GET $1 >/dev/null
    [ "$(info hotcache_hits)" -gt "$before" ]
}
if [ $ID = 1 ]; then
    here SET hot:word start >/dev/null
    for key in hot:word hot:count r:reg0 r:mix1; do
        [ "$(here HALCYON PROMOTE $key)" = OK ] || fail "PROMOTE $key"
    done
fi
for key in hot:word hot:count r:reg0 r:mix1; do soon "$key is hot" is_hot $key; done
[ "$(here SET ready:$ID yes)" = OK ] || fail "ready"
other_ready() { [ "$(here GET ready:$((3 - ID)))" = yes ]; }
soon "the other machine is ready" other_ready

# ---- what is written here is read there at once ----
rounds=15
for i in $(seq 1 $rounds); do
    [ "$(here SET hot:word:$ID w$i)" = OK ] && [ "$(there GET hot:word:$ID)" = w$i ] || fail "round $i: the other proxy reads something else"
    [ $i != 3 ] || [ "$(here HALCYON PROMOTE hot:word:$ID)" = OK ] || fail "PROMOTE" # cold at first, hot from here on
    here INCR hot:count >/dev/null
done
here SET done:$ID yes >/dev/null
other_done() { [ "$(here GET done:$((3 - ID)))" = yes ]; }
soon "the other machine is done" other_done
[ "$(here GET hot:count)" = $((2 * rounds)) ] || fail "hot:count is $(here GET hot:count), not $((2 * rounds))"
echo "20-hot: $rounds writes here were read there at once; the counter of both is $((2 * rounds))"

# ---- a history of clients of both proxies ----
if [ $ID = 1 ]; then
    record --ports 10.9.1.1:$port,10.9.1.2:$port --clients 4 --keys 2 --prefix r: --seconds 6 --timeout-ms 8000 --out $dir/history \
        2>$dir/figures || fail "record failed: $(cat $dir/figures)"
    cat $dir/figures
    answered=$(sed -n 's/.*"ok":\([0-9]*\).*/\1/p' $dir/figures)
    [ "${answered:-0}" -ge 50 ] || fail "only ${answered:-0} operations were answered"
    check-history $dir/history || fail "the history is not linearizable"
    here SET judged yes >/dev/null
else
    judged() { [ "$(here GET judged)" = yes ]; }
    soon "the history is judged" judged
fi

# ---- over what? ----
here INFO hotcache | tr -d '\r' | grep -E '^(hotcache_(worker|hits|writes|invalidations|hotwrites|messages_in)|peer_)'
for name in hotcache_hits hotcache_writes hotcache_invalidations hotcache_messages_in peer_sends peer_receives peer_inline_sends \
    peer_signalled peer_completions peer_registered_bytes; do
    value=$(info $name)
    [ "${value:-0}" -gt 0 ] || fail "$name is zero"
done
tcp=$(awk -v p=$(printf '%04X' $peer_port) '$4 == "01" && ($2 ~ ":" p "$" || $3 ~ ":" p "$")' /proc/net/tcp | wc -l)
[ "$tcp" = 0 ] || fail "$tcp TCP connections on the peer port"
# neither leaves before the other has looked
here SET left:$ID yes >/dev/null
other_left() { [ "$(here GET left:$((3 - ID)))" = yes ]; }
[ $ID = 2 ] || soon "the other machine has looked" other_left
