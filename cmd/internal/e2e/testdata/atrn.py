"""Fetch kept mail by ATRN (RFC 2645): log in with smtplib, then join the connection to a mail server.

atrn.py HOSTNAME PORT CA USER PASSWORD SERVER-PORT [DOMAINS]; without a CA there is no TLS.
Prints what is offered and the reply to ATRN.
"""

import select
import smtplib
import socket
import ssl
import sys

hostname, port, ca, user, password, server = sys.argv[1:7]
domains = "".join(sys.argv[7:])

client = smtplib.SMTP(timeout=30)
client.connect("127.0.0.1", int(port))
client._host = hostname  # the name in the certificate
if ca:
    client.starttls(context=ssl.create_default_context(cafile=ca))
client.ehlo("mail.branch.example")
assert client.has_extn("atrn") and not client.has_extn("size"), client.esmtp_features
assert client.docmd("ATRN")[0] == 530
client.login(user, password)
assert client.docmd("MAIL", "FROM:<a@branch.example>")[0] == 502
code, text = client.docmd("ATRN", domains)
print(code, text.decode())
if code != 250:
    client.quit()
    sys.exit()

ours, theirs = client.sock, socket.create_connection(("127.0.0.1", int(server)), timeout=30)
other = {ours: theirs, theirs: ours}
while True:
    ready = [ours] if ca and ours.pending() else select.select([ours, theirs], [], [], 30)[0]
    assert ready, "nothing happens any more"
    for side in ready:
        data = side.recv(65536)
        if not data:
            sys.exit()
        other[side].sendall(data)
