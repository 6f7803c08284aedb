"""What is true of a scene: captions, questions with the seconds that hold the evidence, facts, events.

All of it follows from the scene, never from pixels.
"""

from typing import Any

from recot.data.schema import QA
from recot.tiny_world.elements import Planted, Scene, Shot, Sprite
from recot.tiny_world.render import sprite_box
from recot.tiny_world.scene import span_text
from recot.tiny_world.sprites import movement
from recot.tiny_world.vocabulary import COLOURS, OBJECTS

TWIN = "-twin"
"""End of a twin's ``video_id``, which is else that of the scene whose twin it is."""


def caption(scene: Scene) -> str:
    """One sentence a shot."""
    return " ".join(shot["text"] for shot in captions(scene))


def captions(scene: Scene) -> list[dict[str, Any]]:
    """One entry a shot: ``t0`` and ``t1`` in seconds, and the ``text`` that describes it."""
    return [
        {"t0": shot.start / scene.fps, "t1": shot.stop / scene.fps, "text": _describe(shot, scene)}
        for shot in scene.shots
    ]


def facts(scene: Scene) -> list[str]:
    """The same for a reader without eyes: an entry a shot, in it a line an object, with movement and seconds."""
    return [
        "\n".join(f"scene {number}: {_fact(sprite, scene.fps)}" for sprite in shot.sprites)
        for number, shot in enumerate(scene.shots, 1)
    ]


def questions(scene: Scene) -> list[QA]:
    """The caption as a first question, then each planted question twice: with options, and free-form.

    The answer is one of the options, word for word. ``evidence`` are the seconds that have to be seen, ``t_start`` and
    ``t_end`` the first and the last of them. Free-form questions name the objects that they are about.
    """
    end = scene.duration_s
    asked = [_qa(scene, "caption", "Describe the video.", caption(scene), [], ((0.0, end),))]
    for planted in scene.planted:
        answer = planted.options[planted.right]
        choices = list(planted.options)
        asked.append(_qa(scene, f"{planted.task}-choice", planted.question, answer, choices, planted.evidence))
        asked.append(_qa(scene, f"{planted.task}-open", _open_question(planted), answer, [], planted.evidence))
    return asked


def events(scene: Scene) -> list[dict[str, Any]]:
    """One entry a sprite, plus one a cut, by time.

    ``t0`` and ``t1`` are presentation seconds (shown at t0 <= t < t1); ``box`` and ``box_end`` are
    ``[left, top, right, bottom]`` pixels on the first and the last frame that show the sprite.
    """
    found: list[dict[str, Any]] = [
        {"kind": "cut", "t0": shot.start / scene.fps, "t1": shot.start / scene.fps} for shot in scene.shots[1:]
    ]
    for sprite in scene.sprites:
        found.append(
            {
                "kind": "sprite",
                "t0": sprite.start / scene.fps,
                "t1": sprite.stop / scene.fps,
                "box": list(sprite_box(sprite, sprite.start, scene)),
                "box_end": list(sprite_box(sprite, sprite.stop - 1, scene)),
                "attributes": {
                    "shape": sprite.shape,
                    "colour": sprite.colour,
                    "rgb": list(COLOURS[sprite.colour]),
                    "radius_px": sprite.radius,
                    "motion": type(sprite.motion).__name__.lower(),
                    "movement": movement(sprite, scene.fps),
                },
            }
        )
    return sorted(found, key=lambda event: event["t0"])


def video_id(scene: Scene) -> str:
    """Names a scene among those of one format."""
    return f"tiny-{scene.seed:019d}{TWIN if scene.twin else ''}"


def _qa(
    scene: Scene, name: str, question: str, answer: str, options: list[str], evidence: tuple[tuple[float, float], ...]
) -> QA:
    return QA(
        sample_id=f"{video_id(scene)}-{name}",
        question=question,
        answer=answer,
        task_type=name.split("-")[0],
        options=options,
        t_start=evidence[0][0],
        t_end=max(t1 for _, t1 in evidence),
        evidence=[[t0, t1] for t0, t1 in evidence],
    )


def _open_question(planted: Planted) -> str:
    """Where the question speaks of "these objects", it has to name them."""
    things = [option for option in planted.options if option in OBJECTS]
    if not things:
        return planted.question
    return f"{planted.question[:-1]}: {', '.join(things[:-1])} or {things[-1]}?"


def _fact(sprite: Sprite, fps: float) -> str:
    span = span_text((sprite.start / fps, sprite.stop / fps))
    return f"{sprite.name} {movement(sprite, fps) or 'is shown'} {span}"


def _describe(shot: Shot, scene: Scene) -> str:
    parts = []
    for sprite in shot.sprites:
        text = f"{'an' if sprite.name[0] in 'aeiou' else 'a'} {sprite.name} {movement(sprite, scene.fps) or 'is shown'}"
        if sprite.start > shot.start:
            text += f" from {sprite.start / scene.fps:.2f} s"
        if sprite.stop < shot.stop:
            text += f" until {sprite.stop / scene.fps:.2f} s"
        parts.append(text)
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    cut = f"at {shot.start / scene.fps:.2f} s the scene cuts: " if shot.start else ""
    text = f"{cut}in front of a {shot.background.kind} background, {listed}."
    return text[0].upper() + text[1:]
