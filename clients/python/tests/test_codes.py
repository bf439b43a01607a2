"""The codes are those of docs/protocol.md, and each is obeyed as written there."""

import re

import pytest
from world import ROOT

import relevo
from relevo import codes
from relevo.codes import Then

PAGE = (ROOT / "docs/protocol.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of a section's table, by its rows."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if re.match(r"\| \d", line)
    ]


def test_every_error_of_the_page_is_known_with_its_name_and_what_to_do() -> None:
    page = {int(number): name.strip("`") for number, name, _ in rows("Errors")}
    assert page == {code.value: code.name.lower() for code in relevo.ErrorCode}
    assert all("doesn't know" not in codes.error_advice(code) for code in page)


def test_every_close_code_of_the_page_is_known_and_obeyed() -> None:
    page = {int(number): (name.strip("`"), what) for number, name, _, what in rows("Close codes")}
    assert {code: name for code, (name, _) in page.items()} == {
        code.value: code.name.lower() for code in relevo.CloseCode
    }
    for code, (name, what) in page.items():
        wanted = Then.WAIT
        if "at once" in what:
            wanted = Then.RESUME
        elif "new token" in what:
            wanted = Then.NEW_TOKEN
        elif "sends less" in what:
            wanted = Then.SEND_LESS
        elif what == "is broken" or 4500 <= code < 5000:
            wanted = Then.STOP
        assert codes.then(code) is wanted, name


def test_a_code_that_is_not_known_says_by_its_range_what_to_do() -> None:
    for code in range(1000, 5000):
        if code not in set(relevo.CloseCode):
            assert codes.then(code) is (Then.STOP if code >= 4500 else Then.WAIT)
    assert relevo.Closed(4777).name == "unknown"


def test_waits_grow_to_a_bound_and_are_spread_over_all_of_it() -> None:
    backoff = relevo.Backoff(first=1, longest=30)
    assert [backoff.bound(n) for n in (1, 2, 3, 6, 7, 10_000)] == [1, 2, 4, 30, 30, 30]
    waits = [backoff.wait(3) for _ in range(1000)]
    assert 0 <= min(waits) < 0.5
    assert 3.5 < max(waits) <= 4
    with pytest.raises(ValueError, match="first <= longest"):
        relevo.Backoff(first=2, longest=1)


def test_a_position_is_text_and_back() -> None:
    position = relevo.Position("a:b", 12)
    assert relevo.Position.parse(str(position)) == position
    for wrong in ("12", "e:", "e:x", "e:-1", "e:1²"):
        with pytest.raises(ValueError, match="EPOCH:OFFSET"):
            relevo.Position.parse(wrong)
