-- destroys data

DROP TABLE counted_keys;
DROP TABLE checkpoints;
DROP TABLE owners;
DROP TABLE event_types;
