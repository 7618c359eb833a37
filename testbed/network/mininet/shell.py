"""Mininet's command line over the nodes of a network, at a terminal or command by command with an exit status.

Rules kept: what Mininet would do by killing programs by name, or to switches that are not there, is done another way or
refused; a lost ping is a failure and not only a line of text.
"""

from __future__ import annotations

import os
import shutil
import string
import sys
from dataclasses import replace
from typing import Any

from testbed.errors import BadInput, MachineCannot, RunInvalid, TestbedError
from testbed.network.mininet.net import as_mininet
from testbed.network.network import Network

COMMAND_LINE_IDENTIFIER = string.ascii_letters + string.digits + "_.-"  # regions have dashes, Mininet's names none
WITHOUT_SWITCHES = ("switch", "dpctl", "ports", "links")


def run_commands(network: Network, commands: list[str]) -> int:
    """Runs Mininet commands one after the other; the status of the first that fails, else 0.

    That is the command's own for `node command`, and RunInvalid's for pings that were lost.
    """
    quiet, nobody_writes = os.pipe()  # Mininet listens to standard input while a command runs; here nothing ever comes
    try:
        with os.fdopen(quiet) as stdin:
            shell = _shell_class(batch=True)(network, stdin)
            for command in commands:
                shell.status = 0
                shell.onecmd(shell.precmd(command))
                if shell.status:
                    return int(shell.status)
    finally:
        os.close(nobody_writes)
    return 0


def interact(network: Network) -> None:
    """Until `exit` or the end of input."""
    shell = _shell_class(batch=False)(network, sys.stdin)
    shell.initReadline()
    shell.run()


def _shell_class(batch: bool) -> Any:
    """Made when it is used, as its base is Mininet's."""
    try:
        from mininet import log
        from mininet.cli import CLI
    except ImportError as error:
        raise MachineCannot(f"shell: Mininet cannot be imported ({error}); see testbed doctor") from error

    class Shell(CLI):  # type: ignore[misc,name-defined]  # Mininet carries no types
        """Mininet's names for commands; `status` is that of the latest."""

        prompt = "mininet> "
        identchars = COMMAND_LINE_IDENTIFIER

        def __init__(self, network: Network, stdin: Any) -> None:
            log.setLogLevel("output")
            self.network = network
            self.status = 0
            self.mn = as_mininet(network, self._say)
            self.locals = {"net": self.mn}
            self.inputFile = None  # Mininet's name
            self.inPoller = _poller(stdin)
            super(CLI, self).__init__(stdin=stdin)  # CLI's own would start reading at once

        def onecmd(self, line: str) -> Any:
            """At a terminal a command that cannot be done says so and the next one is read."""
            try:
                return super().onecmd(line)
            except TestbedError as error:
                if batch:
                    raise
                self._say(f"*** {error}\n")
                return None

        def default(self, line: str) -> None:
            first = self.parseline(line)[0]
            if first not in self.mn:
                raise BadInput(
                    f"shell: {line.split()[0]!r} is neither a command nor a node; nodes: {' '.join(self.mn)}"
                )
            super().default(line)
            node = self.mn[first]
            self.status = int(node.cmd("echo $?") or 0)

        def do_pingall(self, line: str) -> None:
            """Ping between all hosts."""
            self._judge(lambda: self.mn.pingAll(line))

        def do_pingpair(self, _line: str) -> None:
            """Ping between the first two hosts."""
            self._judge(self.mn.pingPair)

        def do_pingallfull(self, _line: str) -> None:
            """Ping between all hosts, with times."""
            self._judge(lambda: _lost(self.mn.pingAllFull()))

        def do_pingpairfull(self, _line: str) -> None:
            """Ping between the first two hosts, with times."""
            self._judge(lambda: _lost(self.mn.pingPairFull()))

        def do_iperfudp(self, _line: str) -> None:
            """Not here."""
            raise BadInput("shell: iperfudp is not available; use `NODE iperf3 ...`, or iperf for TCP")

        def do_link(self, line: str) -> None:
            """Cut or restore both directions of a link. Usage: link node1 node2 [up/down]"""
            words = line.split()
            ends = {*words[:2]}
            if len(words) != 3 or words[2] not in ("up", "down") or len(ends) != 2 or not ends <= {*self.mn}:
                raise BadInput("shell: write link NODE NODE up, or link NODE NODE down")
            up = words[2] == "up"
            links = [link for link in self.network.links if {link.src, link.dst} == ends]
            self.network.change([replace(link, up=up) for link in links])

        def _judge(self, ping: Any) -> None:
            if shutil.which("ping") is None:
                raise MachineCannot("shell: ping is not installed; apt-get install iputils-ping")
            self.status = RunInvalid.exit_code if ping() else 0

        def _say(self, text: str) -> None:
            log.output(text)

    for name in WITHOUT_SWITCHES:
        setattr(Shell, f"do_{name}", _refused(name))
    return Shell


def _refused(name: str) -> Any:
    def refuse(self: Any, _line: str) -> None:
        raise BadInput(f"shell: {name} needs switches, but there are none: every pair of nodes has its own link")

    refuse.__doc__ = "Not available: there are no switches."
    return refuse


def _lost(results: list[Any]) -> int:
    """Pings sent and not answered, of Mininet's (node, destination, (sent, received, ...))."""
    return sum(sent - received for _, _, (sent, received, *_) in results)


def _poller(stdin: Any) -> Any:
    from select import poll

    poller = poll()
    poller.register(stdin)
    return poller
