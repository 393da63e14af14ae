"""A name that was not there at first is found as soon as it is: containers start before their stores' names do."""

from __future__ import annotations

import subprocess
import sys

LOOK_TWICE = """
from realmate.runtime import cooperation
cooperation.patch()
import socket
import dns.flags, dns.message, dns.rcode, dns.rrset
import eventlet
from eventlet.support import greendns

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 0))
exists = False

def serve():
    while True:
        question, client = server.recvfrom(512)
        query = dns.message.from_wire(question)
        answer = dns.message.make_response(query)
        if not exists:
            answer.set_rcode(dns.rcode.NXDOMAIN)  # without a SOA record, which would say for how long
        elif query.question[0].rdtype == 1:
            answer.answer.append(dns.rrset.from_text(query.question[0].name, 1, "IN", "A", "127.0.0.9"))
        server.sendto(answer.to_wire(), client)

eventlet.spawn(serve)
resolver = greendns.resolver._resolver
resolver.nameservers, resolver.port, resolver.search = ["127.0.0.1"], server.getsockname()[1], []
try:
    socket.getaddrinfo("broker.test", 5672)
except socket.gaierror:
    print("not there")
exists = True
print(socket.getaddrinfo("broker.test", 5672)[0][4][0])
"""


def test_a_name_that_did_not_exist_is_looked_up_again() -> None:
    process = subprocess.run(
        [sys.executable, "-c", LOOK_TWICE], capture_output=True, text=True, timeout=60, check=False
    )
    assert process.stdout.split("\n")[:2] == ["not there", "127.0.0.9"], process.stderr
