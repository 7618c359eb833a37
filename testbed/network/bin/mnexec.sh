#!/bin/bash
# Stand-in for Mininet's mnexec, made of util-linux, where the distribution's is not installed.
# Same options, same process all the way (every step is an exec), so the caller's pid is the pid of the command.
#   -c close descriptors (the testbed passes none)  -d new session  -p print the pid  -v print the version
#   -n new network and mount namespaces  -a PID enter those of PID  -r PRIO run in SCHED_RR at PRIO
# -g GROUP (cgroup v1) is refused: the testbed sets cgroups itself.
detach= namespaces= print_pid= attach= priority=
while getopts cdnpva:r:g: option; do
  case $option in
    c) ;;
    d) detach=1 ;;
    n) namespaces=1 ;;
    p) print_pid=1 ;;
    a) attach=$OPTARG ;;
    r) priority=$OPTARG ;;
    v) echo "wan-testbed stand-in"; exit 0 ;;
    *) echo "mnexec stand-in: option not supported" >&2; exit 1 ;;
  esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || { echo "mnexec stand-in: no command" >&2; exit 1; }

[ -n "$print_pid" ] && printf '\001%d\n' $$
steps=()
[ -n "$detach" ] && steps+=(setsid)
[ -n "$namespaces" ] && steps+=(unshare --net --mount --)
[ -n "$attach" ] && steps+=(nsenter --target "$attach" --net --mount --)
[ -n "$priority" ] && steps+=(chrt --rr "$priority")
exec "${steps[@]}" "$@"
