"""A primary for the policy zones of a scenario: policy_zones.py NAME FILE [NAME FILE ...]

Serves each by AXFR, and says what its SOA is, on 127.0.0.1:5300 over TCP, until the program that was started beside it has ended.
"""
import os
import pathlib
import socket
import struct
import sys
import threading

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.zone

ADDRESS = ("127.0.0.1", 5300)
# So many sets of records in one message of a transfer.
SETS_MAX = 50


def read(name, path):
    """The zone's SOA, and all that is in it."""
    zone = dns.zone.from_file(path, origin=dns.name.from_text(name), relativize=False, check_origin=False)
    sets = []
    for owner, data in zone.iterate_rdatasets():
        records = dns.rrset.RRset(owner, data.rdclass, data.rdtype)
        records.update(data)
        sets.append(records)
    soa = next(records for records in sets if records.rdtype == dns.rdatatype.SOA)
    return soa, [records for records in sets if records is not soa]


def replies(query, zones):
    """The messages that answer a query."""
    question = query.question[0]
    reply = dns.message.make_response(query)
    if question.name not in zones:
        reply.set_rcode(dns.rcode.NOTAUTH)
        return [reply]
    reply.flags |= dns.flags.AA
    soa, rest = zones[question.name]
    if question.rdtype not in (dns.rdatatype.AXFR, dns.rdatatype.IXFR):
        reply.answer = [soa] if question.rdtype == dns.rdatatype.SOA else []
        return [reply]
    stream = [soa, *rest, soa]
    messages = []
    for start in range(0, len(stream), SETS_MAX):
        message = dns.message.make_response(query)
        message.flags |= dns.flags.AA
        message.answer = stream[start:start + SETS_MAX]
        messages.append(message)
    return messages


def exactly(stream, octets):
    data = b""
    while len(data) < octets:
        part = stream.recv(octets - len(data))
        if not part:
            raise ConnectionError
        data += part
    return data


def converse(stream, zones):
    try:
        while True:
            query = dns.message.from_wire(exactly(stream, struct.unpack("!H", exactly(stream, 2))[0]))
            for message in replies(query, zones):
                wire = message.to_wire(max_size=65535)
                stream.sendall(struct.pack("!H", len(wire)) + wire)
    except OSError:
        stream.close()


def main(arguments):
    parent = os.getppid()
    zones = {dns.name.from_text(name): read(name, path) for name, path in zip(arguments[::2], arguments[1::2])}
    listener = socket.create_server(ADDRESS)
    pathlib.Path(__file__).with_suffix(".ready").touch()
    listener.settimeout(0.5)
    # The shell that started this becomes the program; when that ends, this has another parent.
    while os.getppid() == parent:
        try:
            stream, _ = listener.accept()
        except TimeoutError:
            continue
        stream.settimeout(None)
        threading.Thread(target=converse, args=(stream, zones), daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1:])
