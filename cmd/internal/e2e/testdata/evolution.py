"""Uses Evolution by its accessibility interface, as a screen reader does.

evolution.py setup NAME ADDRESS PAGE...  the assistant of the first start; PAGE is one to accept
evolution.py fetch PASSWORD              Send / Receive, Receive All
evolution.py send TO SUBJECT PASSWORD    a message whose text is "Grüße aus Evolution"
"""

import subprocess
import sys
import time
from urllib.parse import quote

import gi

gi.require_version("Atspi", "2.0")
from gi.repository import Atspi, GLib

PATIENCE = 45
SHOWING, SENSITIVE, CHECKED = Atspi.StateType.SHOWING, Atspi.StateType.SENSITIVE, Atspi.StateType.CHECKED


def children(element):
    return [c for c in (element.get_child_at_index(i) for i in range(element.get_child_count())) if c]


def windows():
    return [w for program in children(Atspi.get_desktop(0)) for w in children(program)]


def has(element, state):
    return element.get_state_set().contains(state)


def parts(element, hidden=False):
    """All elements below one; hidden also gives those of closed menus."""
    if not hidden and not has(element, SHOWING):
        return
    yield element
    for child in children(element):
        yield from parts(child, hidden)


def label(element):
    for relation in element.get_relation_set():
        if relation.get_relation_type() == Atspi.RelationType.LABELLED_BY:
            return relation.get_target(0).get_name()
    return element.get_name()


def describe():
    for window in windows():
        print(window.get_role_name(), repr(window.get_name()))
        for e in parts(window):
            if e.get_name() and e.get_role_name() != "menu":
                print("   ", e.get_role_name(), repr(e.get_name()), "" if has(e, SENSITIVE) else "(disabled)")


def find(window, role, name, hidden=False):
    """Waits for an element that can be used, in a window with a title; None means any window."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            for w in windows():
                if window not in (None, w.get_name()):
                    continue
                for e in parts(w, hidden):
                    if e.get_role_name() == role and name == label(e) and has(e, SENSITIVE):
                        return e
        except GLib.Error:  # an element has just gone
            pass
        time.sleep(0.1)
    describe()
    sys.exit(f"no {role} {name!r} in the window {window!r} after {PATIENCE} seconds")


def press(window, name, role="push button", hidden=False):
    Atspi.Action.do_action(find(window, role, name, hidden), 0)


def fill(window, name, text, role="text"):
    Atspi.EditableText.set_text_contents(find(window, role, name), text)


def setup(name, address, *pages):
    press("Welcome", "Next")
    press("Restore from Backup", "Next")
    fill("Identity", "Full Name:", name)
    fill("Identity", "Email Address:", address)
    press("Identity", "Next")
    for page in *pages, "Account Summary":
        press(page, "Next")
    press("Done", "Apply")


def log_in(password):
    window = "Mail authentication request"
    fill(window, "Password:", password, "password text")
    keyring = find(window, "check box", "Add this password to your keyring")
    if has(keyring, CHECKED):
        Atspi.Action.do_action(keyring, 0)
    press(window, "OK")


def fetch(password):
    press(None, "Receive All", "menu item", hidden=True)
    log_in(password)


def send(to, subject, password):
    subprocess.Popen(["evolution", f"mailto:{to}?subject={quote(subject)}&body={quote('Grüße aus Evolution')}"])
    press(subject, "Send")
    log_in(password)


{"setup": setup, "fetch": fetch, "send": send}[sys.argv[1]](*sys.argv[2:])
