"""Which questions a video answers, decided before there is a video: answer first, scene second.

A scene drawn at random and asked about afterwards gives its answers away: the most frequent answer of a question, the
longest option, the file's size. Here, the options and the place of the right one are drawn first and independently of
everything else, and then the objects are put where they make it right. All that the answer changes is which object
stands in which of a fixed number of places, so that neither the words nor the size of the file tell it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from recot.randomness import keyed_rng
from recot.tiny_world.vocabulary import NOT_SHOWN, OBJECTS, STRAIGHT

OPTIONS = 4
PLACES_A_SHOT = 3
_BLOCK = 10  # of as many questions of a task, 4 offer NOT_SHOWN; of those, it is the right answer of 1


@dataclass(frozen=True)
class Deal:
    """Where a question's right option stands, and where ``NOT_SHOWN`` does, if it is one of the options."""

    right: int
    not_shown: int | None


def deal(world: int, split: str, task: str, number: int, *, twin: bool = False) -> Deal:
    """The deal of the ``number``-th question of a task in a split.

    Of each 4 successive numbers, every option is right once. Of each 10, ``NOT_SHOWN`` is an option of 4 and right
    for 1, as often as any other option of those 4. Both hold among twins as well, whose right option is another one.

    Args:
        world: seed of the data set.
        split: name of its split.
        task: one of ``TASKS``.
        number: counts the videos of the split (or the pairs of twins) from 0.
        twin: the deal of the twin.
    """
    letters = keyed_rng("tiny_world", world, split, task, "right", number // OPTIONS).permutation(OPTIONS)
    order = keyed_rng("tiny_world", world, split, task, "not shown", number // _BLOCK).permutation(_BLOCK)
    right, distance = int(letters[number % OPTIONS]), int(order[number % _BLOCK])
    not_shown = (right + distance) % OPTIONS if distance < OPTIONS else None
    return Deal((right + OPTIONS // 2) % OPTIONS if twin else right, not_shown)


@dataclass(frozen=True)
class Place:
    """The ``index``-th sprite of a shot."""

    shot: int
    index: int


@dataclass(frozen=True)
class Role:
    """What a place must show: an object of ``OBJECTS`` (None: any that no question names), perhaps its movement.

    ``inside`` means that it appears after the shot's first frame and is gone before the last.
    """

    thing: str | None
    movement: str | None = None
    inside: bool = False


@dataclass(frozen=True)
class Draft:
    """A question whose seconds aren't known yet: an option that is a place stands for the time when it is shown.

    ``evidence`` are the places to see, none where it takes the whole video.
    """

    task: str
    question: str
    options: tuple[str | Place, ...]
    right: int
    evidence: tuple[Place, ...]


@dataclass(frozen=True)
class Plan:
    """What to show where. Objects of ``reserved`` may be shown nowhere else."""

    roles: dict[Place, Role]
    drafts: tuple[Draft, ...]
    reserved: frozenset[str]


class _Planner:
    """Hands out objects and places, each once."""

    def __init__(self, seed: int, shots: int) -> None:
        self.rng = keyed_rng("tiny_world", seed, "plan")
        self.shots = shots
        self.roles: dict[Place, Role] = {}
        self._unused = [OBJECTS[i] for i in self.rng.permutation(len(OBJECTS))]
        self._taken: set[Place] = set()

    def things(self, count: int) -> list[str]:
        """Objects that no other question names."""
        return [self._unused.pop() for _ in range(count)]

    @property
    def reserved(self) -> frozenset[str]:
        return frozenset(OBJECTS) - frozenset(self._unused)

    def pick_shots(
        self, count: int, *, room: int = 1, inside: bool = False, besides: tuple[int, ...] = ()
    ) -> list[int]:
        """Different shots, in order of time; the emptiest ones first, so that there are always enough.

        Args:
            count: how many.
            room: places that each must have.
            inside: don't count first places: what stands there is shown for the whole shot.
            besides: shots to leave out.
        """
        free = [s for s in range(self.shots) if s not in besides and len(self._room(s, inside)) >= room]
        load = {s: sum(place.shot == s for place in self._taken) for s in free}
        ranked = sorted(zip(self.rng.permutation(len(free)), free, strict=True), key=lambda r: (load[r[1]], r[0]))
        assert len(ranked) >= count, "MIN_SHOTS lets through only what fits"
        return sorted(shot for _, shot in ranked[:count])

    def place(self, shot: int, *, inside: bool = False) -> Place:
        """A free place of a shot."""
        place = Place(shot, self._room(shot, inside)[0])
        self._taken.add(place)
        return place

    def _room(self, shot: int, inside: bool) -> list[int]:
        return [i for i in range(int(inside), PLACES_A_SHOT) if Place(shot, i) not in self._taken]

    def choose(self, values: tuple[str, ...], count: int) -> list[str]:
        """Different values, in random order."""
        return [values[i] for i in self.rng.permutation(len(values))[:count]]


def _with_not_shown(options: list[str], deal: Deal) -> tuple[str, ...]:
    return tuple(NOT_SHOWN if i == deal.not_shown else option for i, option in enumerate(options))


def _needle(planner: _Planner, deal: Deal) -> Draft:
    options = _with_not_shown(planner.things(OPTIONS), deal)
    place = planner.place(*planner.pick_shots(1))
    answer = options[deal.right]
    planner.roles[place] = Role(None if answer == NOT_SHOWN else answer)
    evidence = () if answer == NOT_SHOWN else (place,)
    return Draft("needle", "Which of these objects is shown in the video?", options, deal.right, evidence)


def _binding(planner: _Planner, deal: Deal) -> Draft:
    """Another object of the same shot does what a wrong option says; in the twin, the two have swapped.

    No option says that the object stays still: a file with one thing less that moves is smaller.
    """
    asked, other = planner.things(2)
    moves = planner.choose(STRAIGHT, OPTIONS)
    (shot,) = planner.pick_shots(1, room=2)
    pair = [planner.place(shot), planner.place(shot)]
    first, second = pair if planner.rng.random() < 0.5 else reversed(pair)
    options = _with_not_shown(moves, deal)
    shown = deal.right != deal.not_shown
    planner.roles[first] = Role(asked if shown else None, moves[deal.right])
    planner.roles[second] = Role(other, moves[(deal.right + OPTIONS // 2) % OPTIONS])
    return Draft("binding", f"How does the {asked} move?", options, deal.right, (first,) if shown else ())


def _counting(planner: _Planner, deal: Deal) -> Draft:
    (asked,) = planner.things(1)
    numbers = planner.choose(("1", "2", "3", "4"), OPTIONS)
    options = _with_not_shown(numbers, deal)
    places = [planner.place(shot, inside=True) for shot in planner.pick_shots(OPTIONS, inside=True)]
    order = planner.rng.permutation(OPTIONS)
    times = 0 if deal.right == deal.not_shown else int(numbers[deal.right])
    holds = {places[i] for i in order[:times]}
    for place in places:
        planner.roles[place] = Role(asked if place in holds else None, inside=True)
    evidence = tuple(place for place in places if place in holds)
    return Draft("counting", f"How many times does the {asked} appear?", options, deal.right, evidence)


def _order(planner: _Planner, deal: Deal) -> Draft:
    things = planner.things(OPTIONS)
    options = _with_not_shown(things, deal)
    places = [planner.place(shot) for shot in planner.pick_shots(OPTIONS)]
    first = planner.rng.random() < 0.5
    rest = [i for i in planner.rng.permutation(OPTIONS) if i != deal.right]
    in_time = [deal.right, *rest] if first else [*rest, deal.right]
    nothing = deal.right == deal.not_shown
    for place, i in zip(places, in_time, strict=True):
        planner.roles[place] = Role(None if nothing or i == deal.not_shown else things[i])
    question = f"Which of these objects appears {'first' if first else 'last'}?"
    evidence = tuple(place for place in places if planner.roles[place].thing is not None)
    return Draft("order", question, options, deal.right, evidence)


def _grounding(planner: _Planner, deal: Deal) -> Draft:
    (asked,) = planner.things(1)
    places = [planner.place(shot, inside=True) for shot in planner.pick_shots(OPTIONS, inside=True)]
    shuffled = [places[i] for i in planner.rng.permutation(OPTIONS)]
    for i, place in enumerate(shuffled):
        here = i == deal.right != deal.not_shown
        planner.roles[place] = Role(asked if here else None, inside=True)
    options = tuple(NOT_SHOWN if i == deal.not_shown else place for i, place in enumerate(shuffled))
    evidence = () if deal.right == deal.not_shown else (shuffled[deal.right],)
    return Draft("grounding", f"When is the {asked} shown?", options, deal.right, evidence)


def _multi_hop(planner: _Planner, deal: Deal) -> Draft:
    """All options are shown, but only the right one in the shot after the anchor's.

    One of the others is in the shot before it, so that being near the anchor is not enough, and none in the first shot,
    where the right one can't be.
    """
    (anchor,) = planner.things(1)
    things = planner.things(OPTIONS)
    options = _with_not_shown(things, deal)
    shot = int(planner.rng.integers(2, planner.shots - 1))
    hop, target, before = planner.place(shot), planner.place(shot + 1), planner.place(shot - 1)
    taken = (0, shot - 1, shot, shot + 1)
    elsewhere = [before, *(planner.place(s) for s in planner.pick_shots(OPTIONS - 2, besides=taken))]
    rest = [int(i) for i in planner.rng.permutation(OPTIONS) if i != deal.right]
    planner.roles[hop] = Role(anchor)
    for place, i in zip([target, *elsewhere], [deal.right, *rest], strict=True):
        planner.roles[place] = Role(None if i == deal.not_shown else things[i])
    question = f"Which of these objects is shown in the scene right after the one with the {anchor}?"
    return Draft("multi_hop", question, options, deal.right, (hop, target))


_PLANTERS: dict[str, Callable[[_Planner, Deal], Draft]] = {
    # The order of planting: the pair and the neighbours need the most room.
    "multi_hop": _multi_hop,
    "binding": _binding,
    "needle": _needle,
    "counting": _counting,
    "order": _order,
    "grounding": _grounding,
}
MIN_SHOTS = {"needle": 1, "binding": 1, "counting": 4, "order": 5, "grounding": 6, "multi_hop": 8}
"""Task -> shots from which on there is room for it, beside all tasks that need fewer."""
TASKS = tuple(MIN_SHOTS)


def make_plan(seed: int, shots: int, deals: Mapping[str, Deal]) -> Plan:
    """Plan a scene of so many shots for the tasks of ``deals``, each of which must have ``MIN_SHOTS``.

    Everything but the right answers depends on the seed alone.
    """
    planner = _Planner(seed, shots)
    drafts = {}
    for task, plant in _PLANTERS.items():
        if task in deals:
            planner.rng = keyed_rng("tiny_world", seed, "plan", task)
            drafts[task] = plant(planner, deals[task])
    return Plan(planner.roles, tuple(drafts[task] for task in TASKS if task in drafts), planner.reserved)
