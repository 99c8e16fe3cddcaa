# A cluster whose replicas talk over the driver: three nodes of one shard and two proxies, as ./dev up sets them up. Clients of
# both proxies get a linearizable history; INFO must show that verbs did it, and /proc/net/tcp that no TCP connection of the nodes
# did. Then a replica is killed: the others notice, and reads of the shard are still answered through the proxies.
dir=/tmp/cluster-$DRIVER
node_port=7001 peer_offset=1000 proxies="6379 6380"
slab=8192 data_credits=32 ack_credits=8 # not the defaults: the counters must show them
connection_bytes=$(((2 * (data_credits + ack_credits + 8) + 8) * slab)) # docs/rdma.md, Memory

fail() {
    echo "30-cluster: $*"
    for log in "$dir"/*/log; do
        echo "-- $log"
        tail -n 15 "$log"
    done
    exit 1
}
end_all() {
    for pid in $pids; do kill -9 "$pid" 2>/dev/null; done
    wait 2>/dev/null
    rm -rf "$dir"
}
trap end_all EXIT
now() { # sets ms, without a process: each takes a while here
    read -r uptime _ </proc/uptime
    ms=$((${uptime%.*}${uptime#*.} * 10))
}
lost() { # node: how often it has reported the loss of the second replica
    grep -c "Lost replica 2 " "$dir/node-$1/log"
}
info() { # replica
    timeout 10 redis-cli -h "$HOST" -p $((node_port + $1)) INFO hermes | tr -d '\r'
}
counter() { # file name
    sed -n "s/^$2://p" "$1"
}

# ---- configuration and start ----
mkdir -p "$dir"
echo "node-workers 1" >"$dir/cluster.conf"
echo "shard shard-0 auto $HOST:$node_port $HOST:$((node_port + 1)) $HOST:$((node_port + 2))" >>"$dir/cluster.conf"
echo "proxies$(printf ' 127.0.0.1:%s' $proxies)" >"$dir/proxies.conf"
common() { # folder
    echo "include $dir/cluster.conf"
    echo "workers 1"
    echo "protected-mode no"
    echo "dir $1"
    echo "logfile $1/log"
    echo "pidfile $1/pid"
}
pids=""
for r in 0 1 2; do
    d=$dir/node-$r
    mkdir -p "$d"
    {
        common "$d"
        echo "bind $HOST"
        echo "port $((node_port + r))"
        echo "peer-port-offset $peer_offset"
        echo "rdma-device ${DRIVER}0"
        echo "rdma-slab-bytes $slab"
        echo "rdma-data-credits $data_credits"
        echo "rdma-ack-credits $ack_credits"
        [ $r != 2 ] || echo "rdma-busy-poll-us 50"
    } >"$d/node.conf"
    halcyon-node "$d/node.conf" --transport rdma >"$d/out" 2>&1 &
    pids="$pids $!"
    eval "node_$r=$!"
done
for port in $proxies; do
    d=$dir/proxy-$port
    mkdir -p "$d"
    {
        common "$d"
        echo "include $dir/proxies.conf"
        echo "bind 127.0.0.1"
        echo "port $port"
    } >"$d/proxy.conf"
    halcyon-proxy "$d/proxy.conf" >"$d/out" 2>&1 &
    pids="$pids $!"
done
for port in $proxies; do
    now
    end=$((ms + 30000))
    until [ "$(timeout 5 redis-cli -p $port SET up:$port yes 2>/dev/null)" = OK ]; do
        now
        [ $ms -lt $end ] || { cat "$dir"/*/out; fail "no write through the proxy on port $port within 30 s"; }
        sleep 0.2
    done
done
grep -h "transport rdma" "$dir"/node-*/log

# ---- traffic ----
first=6379 second=6380
for i in $(seq 1 50); do echo "SET rest:$i value-$i"; done >"$dir/writes"
for i in $(seq 1 50); do echo "GET rest:$i"; done >"$dir/reads"
for i in $(seq 1 50); do echo "value-$i"; done >"$dir/values"
timeout 30 redis-cli -p $first <"$dir/writes" >"$dir/replies"
[ "$(grep -c '^OK$' "$dir/replies")" = 50 ] || { head -3 "$dir/replies"; fail "redis-cli did not write 50 keys"; }
timeout 30 redis-cli -p $second <"$dir/reads" | cmp -s - "$dir/values" || fail "the other proxy reads something else"
record --ports $first,$second --clients 4 --keys 4 --seconds 5 --timeout-ms 5000 --out "$dir/history" 2>"$dir/figures" ||
    fail "record failed: $(cat "$dir/figures")"
cat "$dir/figures"
answered=$(sed -n 's/.*"ok":\([0-9]*\).*/\1/p' "$dir/figures")
[ "${answered:-0}" -ge 50 ] || fail "only ${answered:-0} operations were answered"
check-history "$dir/history" || fail "the history is not linearizable"

# A value of 1 MiB takes four times the credits there are: its writer has to wait for some, and the others can only give them back
# with sends of their own, as they have nothing to answer before it is complete. So each replica takes one.
seq 1 200000 | head -c 1048576 >"$dir/big"
{ cat "$dir/big"; echo; } >"$dir/big-reply"
for r in 0 1 2; do
    reply=$(timeout 30 redis-cli -h "$HOST" -p $((node_port + r)) -x SET big:$r <"$dir/big")
    [ "$reply" = OK ] || fail "replica $r does not take a value of 1 MiB: $reply"
    timeout 30 redis-cli -p $first GET big:$r | cmp -s - "$dir/big-reply" || fail "big:$r is read back as something else"
done

# ---- over what? ----
for r in 0 1 2; do
    info $r >"$dir/info-$r"
    echo "-- replica $r"
    grep -E '^(hermes_transport|peer_)' "$dir/info-$r"
    [ "$(counter "$dir/info-$r" peer_transport)" = rdma ] || fail "replica $r does not use RDMA"
    [ "$(counter "$dir/info-$r" peer_connected)" = 2 ] || fail "replica $r is not connected to both others"
    for name in sends receives inline_sends signalled doorbells credit_sends credit_stalls fragments completions wakeups; do
        value=$(counter "$dir/info-$r" peer_$name)
        [ "${value:-0}" -gt 0 ] || fail "replica $r: peer_$name is zero"
    done
    [ "$(counter "$dir/info-$r" peer_registered_bytes)" = $((2 * connection_bytes)) ] ||
        fail "replica $r: not the memory of 2 connections with these slabs and credits ($((2 * connection_bytes)))"
done

# Established TCP connections on a peer port: "local remote inode" each. siw's own are among them (it is TCP underneath), but
# those belong to the kernel; none may be open in a node.
peer_sockets() {
    for r in 0 1 2; do printf '%04X\n' $((node_port + peer_offset + r)); done >"$dir/peer-ports"
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v ports="$dir/peer-ports" '
        BEGIN { while ((getline p <ports) > 0) peer[p] = 1 }
        $4 == "01" {
            n = split($2, near, ":")
            m = split($3, far, ":")
            if (near[n] in peer || far[m] in peer) print $2, $3, $10
        }'
}
peer_sockets >"$dir/established"
echo "established TCP connections on peer ports: $(wc -l <"$dir/established")"
[ $DRIVER != rxe ] || [ ! -s "$dir/established" ] || { cat "$dir/established"; fail "replicas are connected over TCP"; }
for pid in $node_0 $node_1 $node_2; do
    ls -l /proc/$pid/fd | sed -n 's/.*socket:\[\([0-9]*\)\].*/\1/p' >"$dir/sockets"
    [ -s "$dir/sockets" ] || fail "the sockets of process $pid cannot be seen"
    while read -r near far inode; do
        ! grep -qx "$inode" "$dir/sockets" || fail "process $pid has a TCP connection to a replica: $near $far"
    done <"$dir/established"
done

# ---- a replica dies ----
before_0=$(lost 0) before_2=$(lost 2)
now
killed=$ms
kill -9 $node_1
noticed_0="" noticed_2=""
until [ -n "$noticed_0" ] && [ -n "$noticed_2" ]; do
    [ -n "$noticed_0" ] || [ "$(lost 0)" -le "$before_0" ] || { now; noticed_0=$((ms - killed)); }
    [ -n "$noticed_2" ] || [ "$(lost 2)" -le "$before_2" ] || { now; noticed_2=$((ms - killed)); }
    now
    [ $((ms - killed)) -le 5000 ] || fail "the death of replica 1 was not reported by both others within 5 s"
done
grep -h "Lost replica 2 " "$dir/node-0/log" "$dir/node-2/log"
echo "replicas 0 and 2 reported the death after $noticed_0 and $noticed_2 ms"
[ "$noticed_0" -le 2000 ] && [ "$noticed_2" -le 2000 ] || fail "that is more than 2 s"
for port in $first $second; do
    timeout 10 redis-cli -p $port <"$dir/reads" >"$dir/replies"
    cmp -s "$dir/replies" "$dir/values" || { head -3 "$dir/replies"; fail "reads through port $port after the death of a replica"; }
    echo "50 reads through port $port are answered after the death of a replica"
done
for r in 0 2; do
    info $r >"$dir/info-$r"
    connected=$(counter "$dir/info-$r" peer_connected)
    [ "$connected" = 1 ] || fail "replica $r: connected to $connected others, not 1"
done
