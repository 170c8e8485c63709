-- destroys data

DROP TABLE archive_manifest;
DROP TABLE rollup_watermarks;
DROP TABLE shard_state;
