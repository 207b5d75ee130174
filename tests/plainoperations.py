"""The plain model of the count of the keys' uses: what a file keeps, in memory."""

from attestor.core.operations import KeyCount, acknowledged, met


class PlainOperations:
    def __init__(self):
        self.keys, self.said = {}, []

    async def count(self, place):
        known = await self.key(place)
        self.keys[place] = KeyCount(
            place, known.counted + 1, known.operations, known.counted_then, known.read_at, known.stopped
        )

    async def key(self, place):
        return self.keys.get(place, KeyCount(place))

    async def met(self, place, operations, at):
        self.keys[place] = met(await self.key(place), operations, at)
        return self.keys[place]

    async def acknowledge(self, place, said):
        self.keys[place] = acknowledged(await self.key(place), said)
        self.said.append((place, said))
        return self.keys[place]
