-- What the shard knows of itself, how far coarser tables are complete, and what was moved to cold storage.

CREATE TABLE shard_state (
  id         TINYINT UNSIGNED NOT NULL,
  cluster_id VARCHAR(64)      NOT NULL,
  shard_id   VARCHAR(64)      NOT NULL,
  term       BIGINT UNSIGNED  NOT NULL COMMENT 'grows with every promotion: key ids learnt under another term may mean another key',
  created_at DATETIME         NOT NULL COMMENT 'UTC',
  PRIMARY KEY (id),
  CONSTRAINT shard_state_single CHECK (id = 1)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80000 COLLATE utf8mb4_0900_bin */
  COMMENT='Which shard of which cluster this is. One row.';

CREATE TABLE rollup_watermarks (
  resolution      VARCHAR(8) NOT NULL,
  complete_before DATETIME   NOT NULL COMMENT 'UTC; rows of this resolution that start before it are complete',
  PRIMARY KEY (resolution),
  CONSTRAINT rollup_watermarks_resolution CHECK (resolution IN ('hour', 'day'))
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80000 COLLATE utf8mb4_0900_bin */
  COMMENT='Before its watermark a coarser table is exact and is read; after it the finer one is.';

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
