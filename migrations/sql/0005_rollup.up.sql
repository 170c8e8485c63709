-- What the roll-up needs to know: who leads it, and how far it came with the hour or the day that it is computing.

ALTER TABLE rollup_watermarks
  ADD COLUMN computing_before DATETIME NULL COMMENT 'UTC; from complete_before to here rows are being computed; NULL or complete_before: none are';

CREATE TABLE rollup_progress (
  resolution VARCHAR(8)      NOT NULL,
  next_key   BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'keys with a smaller id are computed, in what is being computed',
  PRIMARY KEY (resolution),
  CONSTRAINT rollup_progress_resolution CHECK (resolution IN ('hour', 'day'))
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80000 COLLATE utf8mb4_0900_bin */
  COMMENT='How far the computing between a watermark''s complete_before and computing_before came.';

CREATE TABLE rollup_leader (
  id    TINYINT UNSIGNED NOT NULL,
  epoch BIGINT UNSIGNED  NOT NULL COMMENT 'fencing token: grows with every claim',
  owner VARCHAR(255)     NOT NULL COMMENT 'who claimed it',
  PRIMARY KEY (id),
  CONSTRAINT rollup_leader_single CHECK (id = 1)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80000 COLLATE utf8mb4_0900_bin */
  COMMENT='Who rolls up this shard. One row.';

INSERT INTO rollup_progress (resolution) VALUES ('hour'), ('day');

INSERT INTO rollup_leader (id, epoch, owner) VALUES (1, 0, '');
