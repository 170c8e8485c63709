-- Refuses while something is frozen, late or in cold storage: going back would forget it. The refusal changes nothing.

INSERT INTO archive_marks (resolution, frozen_before, cold_before)
SELECT 'gone', '1970-01-01', '1970-01-01' FROM archive_marks
WHERE frozen_before > '1970-01-01' OR EXISTS (SELECT 1 FROM archive_manifest) LIMIT 1;

DROP TABLE archive_marks;
DROP TABLE archive_intents;
DROP TABLE archive_manifest;
DROP TABLE restored_day_counts;
DROP TABLE restored_hour_counts;
DROP TABLE restored_minute_counts;
DROP TABLE restored_ranges;
DROP TABLE late_day_counts;
DROP TABLE late_hour_counts;
DROP TABLE late_minute_counts;

CREATE TABLE archive_manifest (
  id              BIGINT UNSIGNED   NOT NULL AUTO_INCREMENT,
  partition_id    SMALLINT UNSIGNED NOT NULL,
  resolution      VARCHAR(8)        NOT NULL,
  range_start     DATETIME          NOT NULL COMMENT 'UTC, inclusive',
  range_end       DATETIME          NOT NULL COMMENT 'UTC, exclusive',
  object          VARCHAR(512) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'name in cold storage, never used twice',
  row_count       BIGINT UNSIGNED   NOT NULL,
  event_count_sum DECIMAL(38,0)     NOT NULL,
  value_count_sum DECIMAL(38,0)     NOT NULL,
  value_sum_sum   DECIMAL(38,0)     NOT NULL,
  checksum        VARBINARY(32)     NOT NULL COMMENT 'SHA-256 of the object',
  state           VARCHAR(16)       NOT NULL COMMENT 'intent before the object is written, stored, verified, retired',
  PRIMARY KEY (id),
  UNIQUE KEY archive_manifest_object (object),
  KEY archive_manifest_range (partition_id, resolution, range_start),
  CONSTRAINT archive_manifest_partition FOREIGN KEY (partition_id) REFERENCES checkpoints (partition_id),
  CONSTRAINT archive_manifest_state CHECK (state IN ('intent', 'stored', 'verified', 'retired'))
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80000 COLLATE utf8mb4_0900_bin */
  COMMENT='Objects in cold storage that hold rows which left the tables.';
