"""Fetch all messages with poplib and add them to a file, with their own CRLF.

fetch.py HOSTNAME PORT CA plain|starttls|implicit USER PASSWORD keep|delete FILE

HOSTNAME is what the certificate has to name; the server is on 127.0.0.1.
"""

import poplib
import socket
import ssl
import sys

hostname, port, ca, security, user, password, keep, path = sys.argv[1:]

connect = socket.create_connection
socket.create_connection = lambda address, *args, **kw: connect(("127.0.0.1", address[1]), *args, **kw)
poplib._MAXLINE = 1 << 20

context = ssl.create_default_context(cafile=ca)
if security == "implicit":
    pop = poplib.POP3_SSL(hostname, int(port), timeout=30, context=context)
else:
    pop = poplib.POP3(hostname, int(port), timeout=30)
if security == "starttls":
    assert "STLS" in pop.capa()
    pop.stls(context=context)
pop.user(user)
pop.pass_(password)
count, total = pop.stat()
sizes = [int(line.split()[1]) for line in pop.list()[1]]
uids = [line.split()[1] for line in pop.uidl()[1]]
assert len(sizes) == len(set(uids)) == count and sum(sizes) == total
with open(path, "ab") as out:
    for number, size in enumerate(sizes, 1):
        message = b"".join(line + b"\r\n" for line in pop.retr(number)[1])
        assert len(message) == size, (len(message), size)
        out.write(message)
        assert len(pop.top(number, 0)[1]) < len(message)
        if keep == "delete":
            pop.dele(number)
pop.quit()
