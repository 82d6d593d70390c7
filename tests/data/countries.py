"""Writes countries.mmdb, the database of the tests: pip install mmdb_writer; python countries.py"""

import time

from netaddr import IPSet
from mmdb_writer import MMDBWriter

time.time = lambda: 1767312000  # built on 2026-01-02, always

writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Test-Country", description="Made for tests")
for networks, country in [
    (["81.2.69.0/24"], {"iso_code": "GB", "geoname_id": 2635167, "names": {"en": "United Kingdom"}}),
    (["128.0.0.0/2", "199.0.0.0/8", "2001:480::/32"], {"iso_code": "US", "names": {"en": "United States"}}),
    (["64.0.0.0/4", "2a02:d9c0::/29"], {"iso_code": "TR"}),
    (["198.51.100.0/24"], {"iso_code": "no code"}),
    (["203.0.113.0/24"], None),
]:
    continent = {"continent": {"code": "EU", "names": {"en": "Europe"}}}
    writer.insert_network(IPSet(networks), {**continent, **({"country": country} if country else {})})
writer.to_db_file("countries.mmdb")
