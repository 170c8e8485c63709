-- Ranked lists: the keys with the largest counts of each closed hour and day, so that a ranking over any range need not read all keys.
-- docs/rollup.md tells why they are right.

CREATE TABLE ranked_counts (
  resolution    ENUM('hour', 'day') NOT NULL,
  event_type_id SMALLINT UNSIGNED   NOT NULL,
  start         DATETIME            NOT NULL COMMENT 'UTC',
  key_id        BIGINT UNSIGNED     NOT NULL,
  event_count   BIGINT              NOT NULL COMMENT 'as in hour_counts or day_counts',
  PRIMARY KEY (resolution, event_type_id, start, key_id)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80000 COLLATE utf8mb4_0900_bin */
  COMMENT='The members of each list: every key with a count above the bound of the list, and maybe some more.';

CREATE TABLE ranked_grown (
  resolution    ENUM('hour', 'day') NOT NULL,
  event_type_id SMALLINT UNSIGNED   NOT NULL,
  start         DATETIME            NOT NULL COMMENT 'UTC',
  PRIMARY KEY (resolution, event_type_id, start)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80000 COLLATE utf8mb4_0900_bin */
  COMMENT='Lists that late events have added members to since they were last looked at.';

CREATE TABLE ranked_marks (
  resolution    ENUM('hour', 'day') NOT NULL,
  complete_from DATETIME            NOT NULL COMMENT 'UTC; lists that start earlier lack members: they are not read',
  next_key      BIGINT UNSIGNED     NOT NULL DEFAULT 0 COMMENT 'keys with a smaller id are in the lists before complete_from too',
  PRIMARY KEY (resolution)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80000 COLLATE utf8mb4_0900_bin */
  COMMENT='From when on the lists are complete.';

-- What was complete or being computed has no lists yet. A new shard has nothing.
INSERT INTO ranked_marks (resolution, complete_from)
SELECT r.resolution, COALESCE((SELECT COALESCE(w.computing_before, w.complete_before) FROM rollup_watermarks w WHERE w.resolution = r.resolution), '1970-01-01')
FROM (SELECT 'hour' AS resolution UNION ALL SELECT 'day') r;

-- Last: whoever finds it relies on the others.
CREATE TABLE ranked_bounds (
  resolution    ENUM('hour', 'day') NOT NULL,
  event_type_id SMALLINT UNSIGNED   NOT NULL,
  start         DATETIME            NOT NULL COMMENT 'UTC',
  bound         BIGINT              NOT NULL COMMENT 'no key that is not a member counts more; it never falls. No row: 0',
  PRIMARY KEY (resolution, event_type_id, start)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80000 COLLATE utf8mb4_0900_bin */
  COMMENT='What the lists leave out.';
