#!/bin/bash
# First process of the lab's User-Mode Linux kernel, whose root is the host's tree, read-only.
#
# The kernel command line gives LAB_JOB, a directory with `settings` (which Python, and where this package is), this
# script's companion modules.py and two batch files: `links` (for ip) joins the vector devices with a bridge,
# `neighbours` (for bridge) tells it who is behind which. Then serial line 1 is a command shell, one command a line, each
# answered by its output and `=== STATUS`; serial line 2 belongs to netlink.py. When the other end of line 1 is
# closed, the kernel powers off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

. "$LAB_JOB/settings"
# not by mount(8): in a user namespace the host's belongs to nobody and is setuid, so it would give up its rights
"$python" -I -S "$LAB_JOB/modules.py" mount proc:/proc sysfs:/sys devtmpfs:/dev 2>&1
"$python" -I -S "$LAB_JOB/modules.py" load "/usr/lib/uml/modules/$(uname -r)" bridge sch_htb sch_netem cls_u32 2>&1

stty -F /dev/ttyS1 raw -echo
stty -F /dev/ttyS2 raw -echo
exec 3<>/dev/ttyS1 4<>/dev/ttyS2
PYTHONPATH="$package" "$python" -s -S -P -m testbed.network.lab.netlink 4 2>&1 &

# the bridge module brings IPv6 along, whose neighbour discovery would be traffic that no link shapes
for scope in all default; do echo 1 >/proc/sys/net/ipv6/conf/$scope/disable_ipv6; done

ip link set dev lo up
ip -batch "$LAB_JOB/links" || echo "lab: ip -batch $LAB_JOB/links failed"
bridge -batch "$LAB_JOB/neighbours" || echo "lab: bridge -batch $LAB_JOB/neighbours failed"

echo "=== ready" >&3
while IFS= read -r line <&3; do
  eval "$line" >&3 2>&1 </dev/null
  echo "=== $?" >&3
done
echo o >/proc/sysrq-trigger
sleep 10
