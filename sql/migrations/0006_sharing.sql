-- Until when a relay counts as alive, by its own word; null for one of a version that does not share lanes.
alter table relay.relays add column expires_at timestamptz;
