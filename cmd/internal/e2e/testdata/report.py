"""Read a delivery report with Python's email package, strictly.

report.py FILE

Prints as JSON what the report says, or fails where it has defects.
"""

import email
import email.policy
import json
import sys

with open(sys.argv[1], "rb") as file:
    report = email.message_from_binary_file(file, policy=email.policy.strict)

defects = [repr(d) for part in report.walk() for d in part.defects]
for part in report.walk():
    for name, value in part.items():
        defects += [f"{name}: {d!r}" for d in getattr(value, "defects", [])]
if defects:
    sys.exit("\n".join(defects))

assert report.get_content_type() == "multipart/report", report.get_content_type()
assert report.get_param("report-type") == "delivery-status"
text, status, original = report.get_payload()
assert text.get_content_type() == "text/plain"
assert status.get_content_type() == "message/delivery-status"
groups = [dict(group.items()) for group in status.get_payload()]
if original.get_content_type() == "message/rfc822":
    returned = original.get_payload()[0]
else:
    returned = email.message_from_string(original.get_payload())

json.dump({
    "from": report["From"],
    "to": report["To"],
    "subject": report["Subject"],
    "text": text.get_content(),
    "message": groups[0],
    "recipients": groups[1:],
    "returned": original.get_content_type(),
    "returned_id": returned["Message-ID"],
    "body": bool(returned.get_payload().strip()) if not returned.is_multipart() else True,
}, sys.stdout)
