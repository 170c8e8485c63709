-- Cold storage: how far detail has left the tables, what late events add to it since, which objects hold it, and what was brought back.
-- docs/archive.md tells the protocol.

CREATE TABLE late_minute_counts (
  key_id        BIGINT UNSIGNED   NOT NULL,
  event_type_id SMALLINT UNSIGNED NOT NULL,
  start         DATETIME          NOT NULL COMMENT 'UTC',
  late_round    INT UNSIGNED      NOT NULL,
  event_count   BIGINT            NOT NULL,
  value_count   BIGINT            NULL,
  value_sum     DECIMAL(38,0)     NULL,
  value_min     BIGINT            NULL,
  value_max     BIGINT            NULL,
  PRIMARY KEY (key_id, event_type_id, start, late_round),
  KEY late_minute_counts_start (start, late_round)
) ENGINE=InnoDB
  COMMENT='What was added to minutes after they were frozen. Not partitioned: no row of any age may fall outside.';

CREATE TABLE late_hour_counts (
  key_id        BIGINT UNSIGNED   NOT NULL,
  event_type_id SMALLINT UNSIGNED NOT NULL,
  start         DATETIME          NOT NULL COMMENT 'UTC',
  late_round    INT UNSIGNED      NOT NULL,
  event_count   BIGINT            NOT NULL,
  value_count   BIGINT            NULL,
  value_sum     DECIMAL(38,0)     NULL,
  value_min     BIGINT            NULL,
  value_max     BIGINT            NULL,
  PRIMARY KEY (key_id, event_type_id, start, late_round),
  KEY late_hour_counts_start (start, late_round)
) ENGINE=InnoDB
  COMMENT='What was added to hours after they were frozen.';

CREATE TABLE late_day_counts (
  key_id        BIGINT UNSIGNED   NOT NULL,
  event_type_id SMALLINT UNSIGNED NOT NULL,
  start         DATETIME          NOT NULL COMMENT 'UTC',
  late_round    INT UNSIGNED      NOT NULL,
  event_count   BIGINT            NOT NULL,
  value_count   BIGINT            NULL,
  value_sum     DECIMAL(38,0)     NULL,
  value_min     BIGINT            NULL,
  value_max     BIGINT            NULL,
  PRIMARY KEY (key_id, event_type_id, start, late_round),
  KEY late_day_counts_start (start, late_round)
) ENGINE=InnoDB
  COMMENT='What was added to days after they were frozen.';

CREATE TABLE restored_ranges (
  id          BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  resolution  VARCHAR(8)      NOT NULL,
  range_start DATETIME        NOT NULL COMMENT 'UTC, inclusive',
  range_end   DATETIME        NOT NULL COMMENT 'UTC, exclusive',
  state       VARCHAR(16)     NOT NULL COMMENT 'loading, ready, releasing',
  changed_at  DATETIME        NOT NULL COMMENT 'UTC',
  PRIMARY KEY (id),
  CONSTRAINT restored_ranges_resolution CHECK (resolution IN ('minute', 'hour', 'day')),
  CONSTRAINT restored_ranges_state CHECK (state IN ('loading', 'ready', 'releasing'))
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80000 COLLATE utf8mb4_0900_bin */
  COMMENT='Ranges that were brought back from cold storage. Ready ones are read from the restored tables, late rows besides.';

CREATE TABLE restored_minute_counts (
  key_id        BIGINT UNSIGNED   NOT NULL,
  event_type_id SMALLINT UNSIGNED NOT NULL,
  start         DATETIME          NOT NULL COMMENT 'UTC',
  event_count   BIGINT            NOT NULL,
  value_count   BIGINT            NULL,
  value_sum     DECIMAL(38,0)     NULL,
  value_min     BIGINT            NULL,
  value_max     BIGINT            NULL,
  PRIMARY KEY (key_id, event_type_id, start),
  KEY restored_minute_counts_start (start)
) ENGINE=InnoDB
  COMMENT='Minutes brought back from cold storage.';

CREATE TABLE restored_hour_counts (
  key_id        BIGINT UNSIGNED   NOT NULL,
  event_type_id SMALLINT UNSIGNED NOT NULL,
  start         DATETIME          NOT NULL COMMENT 'UTC',
  event_count   BIGINT            NOT NULL,
  value_count   BIGINT            NULL,
  value_sum     DECIMAL(38,0)     NULL,
  value_min     BIGINT            NULL,
  value_max     BIGINT            NULL,
  PRIMARY KEY (key_id, event_type_id, start),
  KEY restored_hour_counts_start (start)
) ENGINE=InnoDB
  COMMENT='Hours brought back from cold storage.';

CREATE TABLE restored_day_counts (
  key_id        BIGINT UNSIGNED   NOT NULL,
  event_type_id SMALLINT UNSIGNED NOT NULL,
  start         DATETIME          NOT NULL COMMENT 'UTC',
  event_count   BIGINT            NOT NULL,
  value_count   BIGINT            NULL,
  value_sum     DECIMAL(38,0)     NULL,
  value_min     BIGINT            NULL,
  value_max     BIGINT            NULL,
  PRIMARY KEY (key_id, event_type_id, start),
  KEY restored_day_counts_start (start)
) ENGINE=InnoDB
  COMMENT='Days brought back from cold storage.';

-- Nothing was ever written to the manifest of the first design.
DROP TABLE archive_manifest;

CREATE TABLE archive_manifest (
  id              BIGINT UNSIGNED   NOT NULL AUTO_INCREMENT,
  partition_id    SMALLINT UNSIGNED NOT NULL,
  resolution      VARCHAR(8)        NOT NULL,
  range_start     DATETIME          NOT NULL COMMENT 'UTC, inclusive: a day',
  range_end       DATETIME          NOT NULL COMMENT 'UTC, exclusive',
  object          VARCHAR(512) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'name in cold storage, never used twice',
  byte_size       BIGINT UNSIGNED   NOT NULL COMMENT 'of the whole object',
  checksum        VARBINARY(32)     NOT NULL COMMENT 'SHA-256 of the whole object',
  row_count       BIGINT UNSIGNED   NOT NULL COMMENT 'rows of this partition in the object, like the sums',
  event_count_sum DECIMAL(38,0)     NOT NULL,
  value_count_sum DECIMAL(38,0)     NOT NULL,
  value_sum_sum   DECIMAL(38,0)     NOT NULL,
  state           VARCHAR(16)       NOT NULL COMMENT 'stored: to be read; retired: replaced by others, to be deleted',
  changed_at      DATETIME          NOT NULL COMMENT 'UTC',
  PRIMARY KEY (id),
  UNIQUE KEY archive_manifest_object (object, partition_id),
  KEY archive_manifest_range (partition_id, resolution, range_start),
  KEY archive_manifest_day (resolution, range_start),
  CONSTRAINT archive_manifest_partition FOREIGN KEY (partition_id) REFERENCES checkpoints (partition_id),
  CONSTRAINT archive_manifest_state CHECK (state IN ('stored', 'retired'))
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80000 COLLATE utf8mb4_0900_bin */
  COMMENT='What is in cold storage: one row an object and partition. A partition that moves takes its rows along.';

CREATE TABLE archive_intents (
  object     VARCHAR(512) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  created_at DATETIME NOT NULL COMMENT 'UTC',
  PRIMARY KEY (object)
) ENGINE=InnoDB
  COMMENT='Objects that are about to be written. An object that is neither here nor in a manifest is an orphan.';

-- Last, and at once with its rows: roles that find the marks rely on all the rest.

CREATE TABLE archive_marks_to_be (
  resolution    VARCHAR(8)   NOT NULL,
  frozen_before DATETIME     NOT NULL COMMENT 'UTC; rows of this resolution that start before it never change again, additions go to the late table',
  cold_before   DATETIME     NOT NULL COMMENT 'UTC, at most frozen_before; rows that start before it are read from cold storage',
  late_round    INT UNSIGNED NOT NULL DEFAULT 1 COMMENT 'in which rows are added to the late table; those of earlier rounds never change again',
  version       BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'grows whenever restored_ranges change',
  PRIMARY KEY (resolution),
  CONSTRAINT going_back_would_forget_what_is_archived CHECK (resolution <> 'gone'),
  CONSTRAINT archive_marks_resolution CHECK (resolution IN ('minute', 'hour', 'day')),
  CONSTRAINT archive_marks_order CHECK (cold_before <= frozen_before)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80000 COLLATE utf8mb4_0900_bin */
  COMMENT='Where each resolution is to be read: cold storage before cold_before, its table from there on, the late table besides.';

INSERT INTO archive_marks_to_be (resolution, frozen_before, cold_before)
VALUES ('minute', '1970-01-01', '1970-01-01'), ('hour', '1970-01-01', '1970-01-01'), ('day', '1970-01-01', '1970-01-01');

RENAME TABLE archive_marks_to_be TO archive_marks;
