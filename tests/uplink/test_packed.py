"""The properties that we write are those that paho would write and reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.uplink.packed import PackedProperties
from edge.uplink.signals import Publication

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200)


@given(TEXT, st.none() | st.integers(0, 2**32 - 1), st.lists(st.tuples(TEXT, TEXT), max_size=5))
def test_paho_reads_what_was_meant_and_writes_as_much(content_type, expiry_s, user):
    message = Publication("t", b"", content_type, expiry_s=expiry_s, user=tuple(user))
    packed = PackedProperties.of(message).pack()
    read = Properties(PacketTypes.PUBLISH)
    _, used = read.unpack(packed)
    assert used == len(packed)
    assert read.ContentType == content_type
    assert getattr(read, "MessageExpiryInterval", None) == expiry_s
    assert getattr(read, "UserProperty", []) == user
    assert len(read.pack()) == len(packed)


def test_a_text_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="wanted at most 65535 bytes, got 65536"):
        PackedProperties.of(Publication("t", b"", "x" * 65_536))
