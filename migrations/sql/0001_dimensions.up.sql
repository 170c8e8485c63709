-- What is counted: event types, owners, keys; and the partitions that this shard owns, with their checkpoints.
-- Text compares by bytes, trailing blanks included. The collation's name differs between MariaDB and MySQL 8.

CREATE TABLE event_types (
  id             SMALLINT UNSIGNED NOT NULL AUTO_INCREMENT,
  name           VARCHAR(64)       NOT NULL,
  unit           VARCHAR(32)       NOT NULL DEFAULT '' COMMENT 'what a value measures',
  description    VARCHAR(255)      NOT NULL DEFAULT '',
  allow_negative BOOLEAN           NOT NULL DEFAULT FALSE COMMENT 'negative weights undo; such a type has no minimum and maximum',
  PRIMARY KEY (id),
  UNIQUE KEY event_types_name (name)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80000 COLLATE utf8mb4_0900_bin */
  COMMENT='Registered kinds of events. Ids differ between shards, names do not.';

CREATE TABLE owners (
  id   INT UNSIGNED NOT NULL AUTO_INCREMENT,
  name VARCHAR(255) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY owners_name (name)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80000 COLLATE utf8mb4_0900_bin */
  COMMENT='Whom keys belong to.';

CREATE TABLE checkpoints (
  partition_id SMALLINT UNSIGNED NOT NULL,
  owned        BOOLEAN           NOT NULL DEFAULT TRUE COMMENT 'whether this shard answers for the partition now',
  epoch        BIGINT UNSIGNED   NOT NULL DEFAULT 0    COMMENT 'fencing token of the writer that may apply',
  next_offset  BIGINT UNSIGNED   NOT NULL DEFAULT 1    COMMENT 'first batch of the log that is not counted yet',
  window_from  BIGINT UNSIGNED   NOT NULL DEFAULT 1    COMMENT 'offset from which the de-duplication window is rebuilt',
  as_of        BIGINT            NOT NULL DEFAULT 0    COMMENT 'ms since 1970 on the clock of the log: all batches appended before are counted',
  incarnation  VARCHAR(64)       NOT NULL DEFAULT ''   COMMENT 'of the log that next_offset counts in',
  checksum     INT UNSIGNED      NOT NULL DEFAULT 0    COMMENT 'CRC-32C of the batch before next_offset',
  owner        VARCHAR(255)      NOT NULL DEFAULT ''   COMMENT 'writer that claimed the epoch',
  PRIMARY KEY (partition_id)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80000 COLLATE utf8mb4_0900_bin */
  COMMENT='Partitions of this shard. A row moves in the transaction that adds the counts it speaks of.';

CREATE TABLE counted_keys (
  id           BIGINT UNSIGNED   NOT NULL AUTO_INCREMENT,
  partition_id SMALLINT UNSIGNED NOT NULL,
  name         VARCHAR(255)      NOT NULL,
  owner_id     INT UNSIGNED      NULL,
  title        VARCHAR(255)      NULL,
  PRIMARY KEY (id),
  UNIQUE KEY counted_keys_partition_name (partition_id, name),
  KEY counted_keys_owner (owner_id),
  CONSTRAINT counted_keys_partition FOREIGN KEY (partition_id) REFERENCES checkpoints (partition_id),
  CONSTRAINT counted_keys_owner FOREIGN KEY (owner_id) REFERENCES owners (id)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80000 COLLATE utf8mb4_0900_bin */
  COMMENT='What is counted. Ids differ between shards, names do not.';
