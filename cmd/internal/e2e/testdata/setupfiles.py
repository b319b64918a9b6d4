"""Reads files that set up mail programs, and prints what they say as JSON.

setupfiles.py FILE  a profile (.mobileconfig without its signature), an .iaf or a .reg

It shares no code with the server: profiles are read by plistlib, the other two by their formats.
"""

import json
import plistlib
import re
import struct
import sys
import uuid


def profile(octets):
    """A profile of Apple, with the keys that its schema requires."""
    whole = plistlib.loads(octets)
    parts = [whole, *whole["PayloadContent"]]
    assert whole["PayloadType"] == "Configuration"
    for part in parts:
        assert isinstance(part["PayloadType"], str)
        assert part["PayloadVersion"] == 1
        assert str(uuid.UUID(part["PayloadUUID"])).upper() == part["PayloadUUID"]
        assert re.fullmatch(r"[A-Za-z0-9.-]+", part["PayloadIdentifier"])
    for key in "PayloadUUID", "PayloadIdentifier":
        assert len({part[key] for part in parts}) == len(parts), key
    found = {part["PayloadType"]: part for part in parts[1:]}
    mail = found["com.apple.mail.managed"]
    for side in "Incoming", "Outgoing":
        assert isinstance(mail[side + "MailServerHostName"], str)
        assert type(mail[side + "MailServerPortNumber"]) is int
        assert type(mail[side + "MailServerUseSSL"]) is bool
    assert mail["OutgoingPasswordSameAsIncomingPassword"] is True
    return mail | {"CA": found["com.apple.security.root"]["PayloadContent"].hex()}


def iaf(octets):
    """An account of Outlook Express: a head of 12 octets, then identifier, length and value."""
    assert octets[:12] == bytes.fromhex("664D4149 00000500 01000000")
    values, at = {}, 12
    while at < len(octets):
        key, length = struct.unpack_from("<II", octets, at)
        value = octets[at + 8 : at + 8 + length]
        assert len(value) == length and f"{key:08X}" not in values
        at += 8 + length
        kind = key & 0xFFFF
        if kind == 0x3F0:  # text
            assert value.index(0) == length - 1
            value = value[:-1].decode("cp1252")
        else:
            assert kind in (0x3E9, 0x3F5)  # a number, yes or no
            (value,) = struct.unpack("<I", value)
            assert kind == 0x3E9 or value in (0, 1)
        values[f"{key:08X}"] = value
    return values


def registry(octets):
    """A registry file of one key: UTF-16 with a byte order mark, or ASCII."""
    text, head = octets.decode("ascii", "ignore"), "REGEDIT4"
    if octets[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text, head = octets.decode("utf-16"), "Windows Registry Editor Version 5.00"
    assert text.endswith("\r\n") and text.count("\n") == text.count("\r\n")
    first, blank, key, *lines = text.removesuffix("\r\n").split("\r\n")
    assert (first, blank) == (head, "")
    values = {"key": re.fullmatch(r"\[(.*)]", key)[1]}
    for line in lines:
        name, word, number = re.fullmatch(
            r'"((?:[^"\\]|\\.)*)"=(?:"((?:[^"\\]|\\.)*)"|dword:([0-9a-f]{8}))', line).groups()
        assert name not in values
        values[name] = int(number, 16) if number else re.sub(r"\\(.)", r"\1", word)
    return values


with open(sys.argv[1], "rb") as f:
    content = f.read()
read = {"mobileconfig": profile, "iaf": iaf, "reg": registry}[sys.argv[1].rsplit(".", 1)[1]]
print(json.dumps(read(content)))
