"""A member that uses the vendor's Python SDK, as a program of its own, so that it can be on another host.

    member.py URL CHANNEL TOKEN

Tells on standard output what it sees, in the words of pipeline.py, until its standard input ends.
"""

import asyncio
import json
import sys

from elements_lab import Member, Pictures


class Told(Pictures):
    """Pictures that are told as they come."""

    def __init__(self, name):
        super().__init__()
        self.name = name

    def take(self, checksum, size):
        super().take(checksum, size)
        print(json.dumps({"picture": checksum, "of": self.name, "size": size}), flush=True)


async def main(url, channel, token):
    async def provider():
        return token

    member = await Member.join({"url": url, "token_provider": provider}, channel)
    told = set()

    async def watch():
        while True:
            for peer_id, tracks in member.tracks.items():
                for kind, track in tracks.items():
                    if kind == "video" and track not in told:
                        told.add(track)
                        track.media = Told(f"video of {peer_id}")
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    await asyncio.to_thread(sys.stdin.read)
    watching.cancel()
    await member.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
