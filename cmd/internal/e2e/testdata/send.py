"""Send a message with smtplib.

send.py HOSTNAME PORT CA plain|starttls|implicit MECHANISM USER PASSWORD FROM TO FILE

HOSTNAME is what the certificate has to name; the server is on 127.0.0.1. An
empty MECHANISM sends without a log-in.
"""

import smtplib
import socket
import ssl
import sys

hostname, port, ca, security, mechanism, user, password, sender, to, path = sys.argv[1:]

connect = socket.create_connection
socket.create_connection = lambda address, *args, **kw: connect(("127.0.0.1", address[1]), *args, **kw)

context = ssl.create_default_context(cafile=ca)
if security == "implicit":
    smtp = smtplib.SMTP_SSL(hostname, int(port), timeout=30, context=context)
else:
    smtp = smtplib.SMTP(hostname, int(port), timeout=30)
with smtp:
    if security == "starttls":
        smtp.starttls(context=context)
    smtp.ehlo()
    if mechanism:
        # login() would choose the mechanism by itself.
        smtp.user, smtp.password = user, password
        smtp.auth(mechanism, getattr(smtp, "auth_" + mechanism.lower()))
    with open(path, "rb") as message:
        smtp.sendmail(sender, [to], message.read(), mail_options=["BODY=8BITMIME"])
