# The second machine loses its power in mid-stream. The first must report both connections as lost: RDMA after the
# retransmissions of the device (about a second), TCP after TCP_USER_TIMEOUT (4 s).
run() { # transport port extra...
    transport-pair $1 $ID $HOST $2 $((3 - ID)) $OTHER $2 100000000 60 $3
}
if [ $ID = 2 ]; then
    run tcp 7901 >/dev/null 2>&1 &
    run rdma 7900 >/dev/null 2>&1 &
    sleep 8
    [ -e /tmp/failed ] || echo "rdma-test: all passed"
    sleep 1
    echo o >/proc/sysrq-trigger
    sleep 60
    exit 1
fi
run tcp 7901 6000 >/tmp/tcp 2>&1 &
tcp=$!
run rdma 7900 3000 >/tmp/rdma 2>&1
rdma_status=$?
wait $tcp
tcp_status=$?
grep -h -e lost -e ^transport-pair /tmp/rdma /tmp/tcp
[ $rdma_status = 0 ] && [ $tcp_status = 0 ]
