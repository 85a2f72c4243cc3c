"""Reads search spaces with all checks, those of a sampler's class among them: its code runs for that.

Loads nothing heavy unless a space names a class.
"""

from __future__ import annotations

from collections.abc import Iterable

from search_spaces.configurations import parse_space
from search_spaces.errors import Mistake, SpaceError
from search_spaces.parsing.reader import Draft
from search_spaces.parsing.yaml_document import parse
from search_spaces.schema import Space
from search_spaces.sections import SamplerClass


def parse_checked_space(text: str, source: str) -> Space:
    """Return the search space that a text describes; the class of its sampler is imported and asked for some trials.

    Args:
        text: of the file.
        source: what to call it in messages.

    Raises:
        SpaceError: it has mistakes; those of the sampler's class are among them.
    """
    space = parse_space(text, source, also=_sampler_mistakes)
    if isinstance(named := space.search.sampler, SamplerClass):
        from tuner.search.sampling.imported import why_it_cannot_draw

        if reason := why_it_cannot_draw(space, named):
            message = f"{named.path} cannot draw from this space: {reason}"
            raise SpaceError(source, parse(text).located([Mistake(None, ("search", "sampler"), message)]))
    return space


def _sampler_mistakes(draft: Draft) -> Iterable[Mistake]:
    if not isinstance(draft.section("search").get("sampler"), dict):
        return ()
    from tuner.search.sampling.imported import sampler_mistakes

    return sampler_mistakes(draft)


def notes_on_sampler(space: Space) -> list[str]:
    """Return what a person should know about the class that a space names as its sampler, as sentences.

    Raises:
        UserError: the class cannot be imported here.
    """
    if not isinstance(space.search.sampler, SamplerClass):
        return []
    from tuner.search.sampling.imported import describe

    return [describe(space.search.sampler)]
