-- What others have told of devices that a household has not named: the name that a device gave to the DHCP server, by its identifier.
-- Shown as evidence; no query is identified by it.
CREATE TABLE device_hint (
    household  TEXT NOT NULL,
    identifier TEXT NOT NULL,
    dhcp_name  TEXT NOT NULL,
    told_at    INTEGER NOT NULL,
    PRIMARY KEY (household, identifier)
) STRICT;
CREATE INDEX device_hint_by_time ON device_hint (told_at);
