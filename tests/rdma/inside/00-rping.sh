# Is the driver itself alive? One RDMA ping with the tools of rdma-core, where they are installed.
[ -x /bin/rping ] || exit 0
rping -s -a $HOST -p 7999 -C 3 >/dev/null 2>&1 &
sleep 1
rping -c -a $HOST -p 7999 -C 3 -v
