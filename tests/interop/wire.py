"""RTP as it passes the relay of netns.py: what a sink sends, by the numbers in it."""

import asyncio
import socket
import struct

EVERYTHING = 3
OUTGOING = 4
ETHERNET = 14
UDP = 17


class Wire:
    """Counts the RTP packets that come from a host, while it is open."""

    def __init__(self, network, host):
        self.streams = {}
        # A device of the relay has the name of the host behind it.
        self.socket = network.relay.open(
            lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERYTHING))
        )
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.setblocking(False)
        self.socket.bind((host.name, 0))
        asyncio.get_running_loop().add_reader(self.socket, self._read)

    def close(self):
        asyncio.get_running_loop().remove_reader(self.socket)
        self.socket.close()

    def _read(self):
        while True:
            try:
                frame, address = self.socket.recvfrom(65536)
            except BlockingIOError:
                return
            if address[2] != OUTGOING and len(frame) > ETHERNET + 20:
                self._take(frame)

    def _take(self, frame):
        if frame[ETHERNET - 2 : ETHERNET] != b"\x08\x00" or frame[ETHERNET + 9] != UDP:
            return
        payload = frame[ETHERNET + 4 * (frame[ETHERNET] & 15) + 8 :]
        # Version 2, and no RTCP (RFC 5761).
        if len(payload) < 12 or payload[0] >> 6 != 2 or 64 <= payload[1] & 127 < 96:
            return
        number, _, source = struct.unpack(">HII", payload[2:12])
        self.streams.setdefault(source, []).append(number)

    def missing(self):
        """Packets that were numbered and not sent, of all streams."""
        return sum((b - a - 1) % 65536 for numbers in self.streams.values() for a, b in zip(numbers, numbers[1:]))
