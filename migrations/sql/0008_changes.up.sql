-- What late events changed, so that caches of closed ranges know what to forget. docs/caching.md tells why it is right.

CREATE TABLE late_changes (
  partition_id SMALLINT UNSIGNED NOT NULL,
  next_offset  BIGINT UNSIGNED   NOT NULL COMMENT 'of the checkpoint that the change was committed with',
  as_of        BIGINT            NOT NULL COMMENT 'of the same checkpoint, ms since 1970',
  touched      BLOB              NOT NULL COMMENT 'types, hashes of keys and minutes: package mysql tells the format',
  PRIMARY KEY (partition_id, next_offset),
  KEY late_changes_age (partition_id, as_of)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80000 COLLATE utf8mb4_0900_bin */
  COMMENT='One row for each flush with rows of minutes that had been closed. Rows are kept for a few minutes of log time.';

-- Applies hold this row until they commit: those that did not find the table above have ended when this returns.
UPDATE shard_state SET shard_id = shard_id WHERE id = 1;

-- Last: whoever finds it relies on every late change being told from now on.
CREATE TABLE late_changes_told (
  id TINYINT UNSIGNED NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80000 COLLATE utf8mb4_0900_bin */
  COMMENT='Empty: late_changes is complete since this table exists.';
