"""`Text` against a dict: whatever the edits and their order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mailapi.text import Text

locals_ = st.text("ab+.'", max_size=4)
keys = st.one_of(
    st.builds("{}@{}".format, locals_, st.sampled_from(["a.b", "b.a", "a.b.a"])),
    st.sampled_from(["a.b", "b.a", "a.b.a"]),
).map(str.encode)
texts = st.text("xyz ,@:.", min_size=1, max_size=12).map(str.encode)
values = st.one_of(st.none(), texts)
edits = st.lists(st.dictionaries(keys, values, max_size=6), max_size=12)


def lines(edit: dict[bytes, bytes | None], separator: bytes) -> dict[bytes, bytes | None]:
    return {
        key: None if value is None else key + separator + value + b"\n"
        for key, value in edit.items()
    }


def in_order(model: dict[bytes, bytes]) -> bytes:
    def place(key: bytes) -> tuple[bytes, bytes]:
        return key.split(b"@")[-1], key

    return b"".join(model[key] for key in sorted(model, key=place))


@settings(deadline=None)
@given(edits, st.sampled_from([b" ", b":"]))
def test_edits_equal_those_of_a_dict(sequence: list[dict], separator: bytes) -> None:
    """After each edit the text is the dict's lines in order, and what changed is what differed."""
    text, model = Text(separator), dict[bytes, bytes]()
    for edit in sequence:
        wished = lines(edit, separator)
        changed = {key: line for key, line in wished.items() if model.get(key) != line}
        assert text.edit(wished) == changed
        model |= {key: line for key, line in wished.items() if line is not None}
        model = {key: line for key, line in model.items() if wished.get(key, line) is not None}
        assert text.data == in_order(model)
        assert len(text) == len(model)
        assert {key: text.line(key) for key in {*model, *wished}} == {
            key: model.get(key) for key in {*model, *wished}
        }
        assert [key + separator + value + b"\n" for key, value in text.entries()] == (
            text.data.splitlines(keepends=True)
        )


@settings(deadline=None)
@given(st.dictionaries(keys, texts, max_size=12), st.randoms())
def test_any_order_gives_the_same_bytes(content: dict[bytes, bytes | None], random) -> None:
    """The same lines put singly, in any order, give the same text as put at once."""
    wished = lines(content, b" ")
    at_once, singly = Text(b" "), Text(b" ")
    at_once.edit(wished)
    items = list(wished.items())
    random.shuffle(items)
    for key, line in items:
        singly.edit({key: line})
    assert singly.data == at_once.data
