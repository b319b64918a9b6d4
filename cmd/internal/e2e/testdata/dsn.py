"""Send a message with smtplib and parameters of MAIL and RCPT (RFC 3461).

dsn.py PORT USER PASSWORD FROM TO FILE MAIL-PARAMETERS RCPT-PARAMETERS
"""

import smtplib
import sys

port, user, password, sender, to, path, mail, rcpt = sys.argv[1:]

with smtplib.SMTP("127.0.0.1", int(port), timeout=30) as smtp:
    smtp.ehlo()
    assert smtp.has_extn("dsn"), "DSN is not offered"
    smtp.login(user, password)
    with open(path, "rb") as message:
        smtp.sendmail(sender, [to], message.read(), mail_options=mail.split(), rcpt_options=rcpt.split())
