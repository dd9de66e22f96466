"""Two simulated hosts: two network namespaces, and a link of a given delay and rate between them.

Linux, as root, with iproute2:

    python -m trpo.scripts.benchmarks.two_hosts HalfCheetah-v5 --threads 1

The link is two TUN devices and a relay that delays every packet by DELAY, and by the packets before
it at RATE. (The kernel's own, netem, is not available everywhere.)
"""

import fcntl
import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

DELAY, RATE = 1e-3, 100e6 / 8  # seconds one way; bytes a second
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h
LARGEST = 2048  # bytes of a packet, or more
HOSTS = ("first", "second")


def ip(words: str) -> None:
    """Run iproute2's `ip`.

    Args:
        words: its arguments.
    """
    subprocess.run(["ip", *words.split()], check=True)


def make_host(number: int) -> int:
    """Make a namespace with one end of the link, 10.99.0.NUMBER + 1.

    Args:
        number: 0 or 1.

    Returns:
        The descriptor that its packets are read from, and written to.
    """
    name = HOSTS[number]
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH", f"link{number}".encode(), IFF_TUN | IFF_NO_PI))
    ip(f"netns add {name}")
    ip(f"link set link{number} netns {name}")
    ip(f"-n {name} address add 10.99.0.{number + 1}/24 dev link{number}")
    ip(f"-n {name} link set link{number} up")
    ip(f"-n {name} link set lo up")
    return end


def relay(ends: tuple[int, int], ended: threading.Event) -> None:
    """Carry packets from either end to the other.

    Args:
        ends: descriptors of the two.
        ended: set to stop.
    """
    queues: dict[int, deque[tuple[float, bytes]]] = {end: deque() for end in ends}
    free = dict.fromkeys(ends, 0.0)  # when the line from this end has sent what it was given
    other = dict(zip(ends, reversed(ends), strict=True))
    while not ended.is_set():
        due = min((queue[0][0] for queue in queues.values() if queue), default=time.monotonic() + 1)
        readable, _, _ = select.select(ends, [], [], max(due - time.monotonic(), 0))
        for end in readable:
            packet = os.read(end, LARGEST)
            free[end] = max(free[end], time.monotonic()) + len(packet) / RATE
            queues[end].append((free[end] + DELAY, packet))
        for end, queue in queues.items():
            while queue and queue[0][0] <= time.monotonic():
                os.write(other[end], queue.popleft()[1])


def start_host(number: int, words: list[str]) -> subprocess.Popen:
    """Start torchrun in a namespace, with one process.

    Args:
        number: of the host.
        words: of `trpo train`.

    Returns:
        The process.
    """
    torchrun = [str(Path(sys.executable).parent / "torchrun"), "--nnodes", "2"]
    torchrun += ["--node-rank", str(number), "--nproc-per-node", "1"]
    torchrun += ["--master-addr", "10.99.0.1", "--master-port", "29501"]
    command = [*torchrun, "-m", "trpo.scripts.benchmarks.group", *words]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": f"link{number}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(["ip", "netns", "exec", HOSTS[number], *command], env=environment)


def main(words: list[str]) -> int:
    """Measure `trpo.scripts.benchmarks.group` on the two hosts.

    Args:
        words: of `trpo train`.

    Returns:
        0 if both hosts' processes ended well.
    """
    ended = threading.Event()
    ends = make_host(0), make_host(1)
    try:
        threading.Thread(target=relay, args=(ends, ended), daemon=True).start()
        hosts = [start_host(number, words) for number in range(2)]
        return max(abs(host.wait()) for host in hosts)
    finally:
        ended.set()
        for name in HOSTS:
            ip(f"netns delete {name}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
